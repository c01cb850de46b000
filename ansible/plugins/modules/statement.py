#!/usr/bin/python

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: statement
short_description: Runs a statement on a MySQL or MariaDB server, unless a query has rows
description:
  - Runs the query first. If it returns rows, or there is no statement, nothing is done. Nothing enters the binary log.
  - On a MySQL server that is super read-only, that is lifted while a statement runs that writes. It stays read-only.
options:
  statement:
    description: The statement. It must contain no secret. Without one, only the query runs, and nothing changes.
    type: str
  unless:
    description: A query. The statement runs only if it returns no rows. Without one, the statement always runs.
    type: str
  writes:
    description: Whether it writes to tables.
    type: bool
    default: true
extends_documentation_fragment:
  - orchestrator.fleet.server
author:
  - The orchestrator authors
"""

EXAMPLES = r"""
- name: Create the database
  orchestrator.fleet.statement:
    statement: CREATE DATABASE orchestrator
    unless: SHOW DATABASES LIKE 'orchestrator'
"""

RETURN = r"""
rows:
  description: The rows of the query.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.orchestrator.fleet.plugins.module_utils.client import OPTIONS, Client, Failed


def main():
    module = AnsibleModule(
        argument_spec=dict(
            statement=dict(type="str"), unless=dict(type="str"), writes=dict(type="bool", default=True), **OPTIONS
        ),
        required_one_of=[("statement", "unless")],
        supports_check_mode=True,
    )
    client = Client(module)
    statement, unless = module.params["statement"], module.params["unless"]
    if module.check_mode and not client.there:
        module.exit_json(changed=bool(statement), rows=[], msg="there is no server yet")
    try:
        rows = client.ask(unless) if unless else []
        wanted = bool(statement) and not rows
        if wanted and not module.check_mode:
            (client.write if module.params["writes"] else client.do)(statement)
    except Failed as why:
        module.fail_json(msg="%s: %s" % (statement or unless, why))
    module.exit_json(changed=wanted, rows=rows, diff=dict(before="", after=statement + "\n" if wanted else ""))


if __name__ == "__main__":
    main()
