#!/usr/bin/python

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: variables
short_description: Global variables of a running MySQL or MariaDB server
description:
  - Sets those that differ. Of what only a restart should change, or can, it tells that it differs.
  - Says nothing into an option file. For that there is a template.
options:
  variables:
    description: Variables to set at once. Names that the server doesn't have are skipped. Numbers, and ON or OFF.
    type: dict
    default: {}
  later:
    description: Variables of the option file that need a restart. They are only compared.
    type: dict
    default: {}
extends_documentation_fragment:
  - orchestrator.fleet.server
author:
  - The orchestrator authors
"""

EXAMPLES = r"""
- name: Notice a cut connection quickly
  orchestrator.fleet.variables:
    variables:
      slave_net_timeout: 4
    later:
      log_slave_updates: true
"""

RETURN = r"""
restart:
  description: What a restart will change, as "server_id = 101 (now 1)".
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.orchestrator.fleet.plugins.module_utils.client import OPTIONS, Client, Failed, literal


def plain(value):
    """Write a value as SHOW VARIABLES does."""
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return str(value)


def same(a, b):
    a, b = a.upper(), b.upper()
    flags = {"1": "ON", "0": "OFF", "TRUE": "ON", "FALSE": "OFF"}
    try:
        return float(a) == float(b)
    except ValueError:
        return flags.get(a, a) == flags.get(b, b)


def main():
    module = AnsibleModule(
        argument_spec=dict(variables=dict(type="dict", default={}), later=dict(type="dict", default={}), **OPTIONS),
        supports_check_mode=True
    )
    client = Client(module)
    if module.check_mode and not client.there:
        module.exit_json(changed=True, restart=[], msg="there is no server yet")
    try:
        has = {r["Variable_name"]: r["Value"] for r in client.ask("SHOW GLOBAL VARIABLES")}

        def differ(option):
            wanted = {k: plain(v) for k, v in module.params[option].items()}
            return {k: wanted[k] for k in sorted(wanted) if k in has and not same(has[k], wanted[k])}

        restart = ["%s = %s (now %s)" % (k, v, has[k]) for k, v in differ("later").items()]
        after = differ("variables")
        before = {key: has[key] for key in after}
        for key in [] if module.check_mode else sorted(after):
            number = after[key].lstrip("-").replace(".", "", 1).isdigit()
            client.do("SET GLOBAL %s = %s" % (key, after[key] if number else literal(after[key])))
    except Failed as why:
        module.fail_json(msg="variables: %s" % why)
    show = lambda d: "".join("%s = %s\n" % (k, d[k]) for k in sorted(d))
    module.exit_json(changed=bool(after), restart=restart, diff=dict(before=show(before), after=show(after)))


if __name__ == "__main__":
    main()
