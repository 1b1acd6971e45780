# Targets for the real peers; included by the root Makefile.

.PHONY: peers peers-direct

peers: ## Install the pinned MCP clients, servers and conformance suite into .peers/
	@tests/peers/install.sh
	@tests/peers/rvault.sh >/dev/null

peers-direct: peers ## Run every peer against the fixture without Keepgate
	@tests/peers/direct.sh

.PHONY: deploy-tools
deploy-tools: ## Install the pinned tools that check deploy/ into .peers/deploy/
	@tests/peers/deploy-tools.sh
