// Loads a package from .peers/, where install.sh puts it. Node looks for bare imports beside the importing file only,
// so scripts in this folder ask here instead of carrying a node_modules of their own.
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Absolute path of the folder install.sh fills. */
export const peersFolder = fileURLToPath(new URL('../../.peers/', import.meta.url));

if (!existsSync(`${peersFolder}stamp`)) {
    process.stderr.write('the peers are not installed: run `make peers` first\n');
    process.exit(3);
}

/** Loads a package (or a subpath of one) by its name. */
export const peer = createRequire(`${peersFolder}package.json`);
