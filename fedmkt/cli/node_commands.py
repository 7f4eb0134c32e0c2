"""All of `fedmkt node`: from nothing to running, and what a job would do."""

from fedmkt.cli import node_data, node_setup, services
from fedmkt.cli.node import app

for _command in (node_setup.init, node_setup.card, node_setup.join, node_setup.run):
    app.command()(_command)
app.command("import")(node_data.import_table)
app.command("check")(node_data.check)
app.command("service")(services.make_node_service)
