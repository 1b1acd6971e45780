// Preloaded (`node --import`) into servers that would listen on every interface: binds them to 127.0.0.1 and prints
// `listening http://127.0.0.1:N/mcp` (or the path in `LISTENS_AT`), so that they can be given port 0.
import { Server } from 'node:net';

const listen = Server.prototype.listen;

Server.prototype.listen = function listenOnLoopback(where, ...rest) {
    const port = typeof where === 'object' ? where.port : Number(where);
    const callback = rest.find((argument) => typeof argument === 'function');
    this.once('listening', () => process.stdout.write(`listening http://127.0.0.1:${this.address().port}${process.env.LISTENS_AT ?? '/mcp'}\n`));
    return listen.call(this, { port, host: '127.0.0.1' }, callback);
};
