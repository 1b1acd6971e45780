package mcp.authz

import data.lib.ok

allow contains "x" if ok
