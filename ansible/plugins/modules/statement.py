#!/usr/bin/python

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: statement
short_description: A statement that a MySQL or MariaDB server is given, unless a question has rows
description:
  - Asks first. Where the answer has rows, there is nothing to do. Nothing enters the binary log.
  - On a MySQL server that is super read-only, that is lifted while a statement runs that writes. It stays read-only.
options:
  statement:
    description: What to run. Must hold no secret.
    type: str
    required: true
  unless:
    description: A query. The statement is run only where it returns no rows. Without one it is run each time.
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
  description: What the question returned.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.orchestrator.fleet.plugins.module_utils.client import OPTIONS, Client, Failed


def main():
    module = AnsibleModule(
        argument_spec=dict(
            statement=dict(type="str", required=True), unless=dict(type="str"), writes=dict(type="bool", default=True), **OPTIONS
        ),
        supports_check_mode=True,
    )
    client = Client(module)
    if module.check_mode and not client.there:
        module.exit_json(changed=True, rows=[], msg="there is no server yet")
    try:
        rows = client.ask(module.params["unless"]) if module.params["unless"] else []
        if not rows and not module.check_mode:
            (client.write if module.params["writes"] else client.do)(module.params["statement"])
    except Failed as why:
        module.fail_json(msg="%s: %s" % (module.params["statement"], why))
    module.exit_json(changed=not rows, rows=rows, diff=dict(before="", after="" if rows else module.params["statement"] + "\n"))


if __name__ == "__main__":
    main()
