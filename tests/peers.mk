# Targets for the real peers; included by the root Makefile.

.PHONY: peers peers-direct

peers: ## Install the pinned MCP clients, servers, OpenBao and conformance suite into .peers/; needs no root
	@tests/peers/install.sh

peers-direct: peers ## Run every peer against the fixture without Keepgate
	@tests/peers/direct.sh

.PHONY: deploy-tools
deploy-tools: ## Install the pinned tools that check deploy/ and the dependencies into .peers/deploy/
	@tests/peers/deploy-tools.sh

.PHONY: system
system: peers ## Name the missing programs of the system, or install them (as root, KEEPGATE_PEERS_APT=1)
	@KEEPGATE_PEERS_APT=$(KEEPGATE_PEERS_APT) tests/peers/system.sh
