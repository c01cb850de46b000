#!/usr/bin/python

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: variables
short_description: Global variables of a running MySQL or MariaDB server
description:
  - Sets those that differ. What can't be changed while the server runs is returned as C(restart), and left alone.
  - Says nothing into an option file. For that there is a template.
options:
  variables:
    description: Names and values. Names that the server doesn't have are left out. Numbers, and ON or OFF.
    type: dict
    required: true
extends_documentation_fragment:
  - orchestrator.fleet.server
author:
  - The orchestrator authors
"""

EXAMPLES = r"""
- name: Have a cut connection noticed soon
  orchestrator.fleet.variables:
    variables:
      slave_net_timeout: 4
"""

RETURN = r"""
restart:
  description: The variables that only a restart changes.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.orchestrator.fleet.plugins.module_utils.client import OPTIONS, Client, Failed, literal

READ_ONLY = ("1238", "1621", "1766", "1788", "3111", "3680")  # is a read only variable, or can't be set now, or not in one step


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
    module = AnsibleModule(argument_spec=dict(variables=dict(type="dict", required=True), **OPTIONS), supports_check_mode=True)
    client = Client(module)
    if module.check_mode and not client.there:
        module.exit_json(changed=True, restart=[], msg="there is no server yet")
    before, after, restart = {}, {}, []
    try:
        has = {r["Variable_name"]: r["Value"] for r in client.ask("SHOW GLOBAL VARIABLES")}
        for key in sorted(module.params["variables"]):
            want = plain(module.params["variables"][key])
            if key not in has or same(has[key], want):
                continue
            if not module.check_mode:
                try:
                    number = want.lstrip("-").replace(".", "", 1).isdigit()
                    client.do("SET GLOBAL %s = %s" % (key, want if number else literal(want)))
                except Failed as why:
                    if not any("ERROR " + code in str(why) for code in READ_ONLY):
                        raise
                    restart.append(key)
                    continue
            before[key], after[key] = has[key], want
    except Failed as why:
        module.fail_json(msg="variables: %s" % why)
    show = lambda d: "".join("%s = %s\n" % (k, d[k]) for k in sorted(d))
    module.exit_json(changed=bool(after), restart=restart, diff=dict(before=show(before), after=show(after)))


if __name__ == "__main__":
    main()
