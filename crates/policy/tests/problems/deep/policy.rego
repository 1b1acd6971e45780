package mcp.authz

allow contains "x" if [[[[[[[[[[[[[[1]]]]]]]]]]]]]] == input.arguments
