"""The contract's nodes as a ClientApp that worker processes import."""

from contract.channel_contract import open_contract_handler

from fedmkt.transport.flower import make_client_app

app = make_client_app(open_contract_handler)
