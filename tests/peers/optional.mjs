// Prints which members the schemas of the TypeScript SDK let a message leave out and do not let be null, by schema:
//
//   optional.mjs      {"ListToolsResult": ["nextCursor", "tools.[].title", ...], ...}
//
// A name is a path of members; `[]` is any item of a list.
import { peer } from './peers.mjs';

const types = await peer('@modelcontextprotocol/sdk/types.js');

const NAMES = [
    'ListToolsResult', 'ListPromptsResult', 'ListResourcesResult', 'ListResourceTemplatesResult', 'ReadResourceResult',
    'CallToolResult', 'GetPromptResult', 'CompleteResult', 'InitializeResult', 'CreateMessageRequest', 'ElicitRequest',
    'ProgressNotification', 'LoggingMessageNotification', 'CancelledNotification', 'ResourceUpdatedNotification',
];
const WRAPPERS = { optional: 'optional', default: 'optional', prefault: 'optional', catch: 'optional', nullable: 'nullable' };

/** The schema within its wrappers, and which those are. */
function unwrapped(schema) {
    const found = { optional: false, nullable: false };
    for (;;) {
        const def = schema._zod.def;
        if (WRAPPERS[def.type]) {
            found[WRAPPERS[def.type]] = true;
            schema = def.innerType;
        } else if (def.type === 'lazy') {
            schema = def.getter();
        } else if (def.type === 'pipe') {
            schema = def.in;
        } else {
            const any = def.type === 'unknown' || def.type === 'any';
            return { schema, def, isIdle: found.optional && !found.nullable && !any };
        }
    }
}

function walk(schema, path, above, found) {
    const { schema: bare, def } = unwrapped(schema);
    if (above.includes(bare)) return;
    const within = [...above, bare];
    if (def.type === 'object') {
        for (const [name, member] of Object.entries(def.shape)) {
            // Names of MCP's own extensions have points.
            const here = [...path, name.replaceAll('.', '\\')];
            if (unwrapped(member).isIdle) found.add(here.join('.'));
            walk(member, here, within, found);
        }
    } else if (def.type === 'array') {
        walk(def.element, [...path, '[]'], within, found);
    } else if (def.type === 'union') {
        for (const option of def.options) walk(option, path, within, found);
    } else if (def.type === 'intersection') {
        walk(def.left, path, within, found);
        walk(def.right, path, within, found);
    }
}

const all = {};
for (const name of NAMES) {
    const found = new Set();
    walk(types[`${name}Schema`], [], [], found);
    all[name] = [...found].sort();
}
console.log(JSON.stringify(all));
