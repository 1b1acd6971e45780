// Calls `wait` four times, each with a client of its own, over a connection that somebody cuts: `ts-resume.mjs URL`. Prints the
// number of answers. The client is `@modelcontextprotocol/client` 2.x, which resumes by itself.
import { peer } from './peers.mjs';

const { Client, StreamableHTTPClientTransport } = peer('@modelcontextprotocol/client');

let answers = 0;
for (let round = 0; round < 4; round += 1) {
    const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]), {
        reconnectionOptions: { initialReconnectionDelay: 50, maxReconnectionDelay: 500, reconnectionDelayGrowFactor: 2, maxRetries: 5 },
    });
    const client = new Client({ name: 'keepgate-ts-resume', version: '1.0.0' }, { versionNegotiation: { mode: 'legacy' } });
    try {
        await client.connect(transport);
        const answer = await client.callTool({ name: 'wait', arguments: {} }, { timeout: 8000 });
        if (answer.content[0].text === 'waited') answers += 1;
        await client.close();
    } catch (error) {
        console.error(`round ${round}: ${error}`);
    }
}
console.log(`${answers} of 4`);
