#!/usr/bin/python

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: account
short_description: An account on a MySQL or MariaDB server, with a password and exactly these privileges
description:
  - Creates the account, sets its password, and grants and revokes until it has exactly these privileges.
  - Tests the password with a login, so a second run changes nothing.
  - Nothing enters the binary log. The account exists on this server only.
  - On a MySQL server with super_read_only, that is off while the account is written. It stays read-only.
options:
  user:
    description: Name of the account.
    type: str
    required: true
  host:
    description: Host from which it logs in.
    type: str
    default: "%"
  password:
    description: Its password.
    type: str
    required: true
  retain:
    description:
      - When the password changes, the previous one stays valid.
      - MySQL keeps it as the secondary password, MariaDB as another way to log in.
    type: bool
    default: false
  discard:
    description: Other passwords than this one become invalid.
    type: bool
    default: false
  privileges:
    description: A list of privileges for each level, such as C(*.*) or C(orchestrator.*). None leaves them unchanged.
    type: dict
extends_documentation_fragment:
  - orchestrator.fleet.server
author:
  - The orchestrator authors
"""

EXAMPLES = r"""
- name: Create the account of the daemons
  orchestrator.fleet.account:
    user: orchestrator_backend
    password: "{{ backend_password }}"
    privileges:
      "*.*": [SLAVE MONITOR]
      "orchestrator.*": [SELECT, INSERT, UPDATE, DELETE, CREATE]
"""

RETURN = r"""
statements:
  description: What was done, or would be in check mode, without passwords.
  returned: always
  type: list
  elements: str
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.orchestrator.fleet.plugins.module_utils.client import OPTIONS, Client, Failed, literal, name

# MariaDB renamed some privileges, and may print either name.
SYNONYMS = {
    "REPLICA MONITOR": "SLAVE MONITOR",
    "REPLICATION REPLICA": "REPLICATION SLAVE",
    "REPLICATION REPLICA ADMIN": "REPLICATION SLAVE ADMIN",
    "REPLICATION CLIENT": "BINLOG MONITOR",
}


class Account:
    def __init__(self, module):
        self.client = Client(module)
        self.p = module.params
        self.who = "%s@%s" % (literal(self.p["user"]), literal(self.p["host"]))
        self.says = []  # without passwords
        self.do = []

    def plan(self):
        self.maria = self.client.mariadb()
        found = self.client.ask("SELECT User FROM mysql.user WHERE User = %s AND Host = %s"
                                % (literal(self.p["user"]), literal(self.p["host"])))
        before = {}
        if not found:
            self.add("CREATE USER %s IDENTIFIED BY %s" % (self.who, literal(self.p["password"])))
        else:
            self.password()
            before = self.granted()
        wanted = None
        if self.p["privileges"] is not None:
            wanted = {self.level(k): {self.one(x) for x in v} for k, v in self.p["privileges"].items()}
            for level in sorted(set(before) | set(wanted)):
                has, want = before.get(level, set()), wanted.get(level, set())
                if want - has:
                    self.add("GRANT %s ON %s TO %s" % (", ".join(sorted(want - has)), level, self.who))
                if has - want:
                    self.add("REVOKE %s ON %s FROM %s" % (", ".join(sorted(has - want)), level, self.who))
        return before, before if wanted is None else wanted

    def add(self, statement, says=None):
        self.do.append(statement)
        self.says.append(says or statement.replace(literal(self.p["password"]), "'***'"))

    def password(self):
        right = self.client.login(self.p["user"], self.p["password"])
        new = literal(self.p["password"])
        if self.maria:
            ways = self.ways()
            if not right and self.p["retain"]:
                self.add("ALTER USER %s IDENTIFIED VIA %s OR mysql_native_password USING PASSWORD(%s)"
                         % (self.who, " OR ".join(ways), new),
                         "ALTER USER %s: one more password" % self.who)
            elif not right or (self.p["discard"] and len(ways) > 1):
                self.add("ALTER USER %s IDENTIFIED VIA mysql_native_password USING PASSWORD(%s)" % (self.who, new),
                         "ALTER USER %s: this password only" % self.who)
            return
        if not right:
            self.add("ALTER USER %s IDENTIFIED BY %s%s"
                     % (self.who, new, " RETAIN CURRENT PASSWORD" if self.p["retain"] else ""))
        if self.p["discard"] and self.second():  # even if the first one was just replaced: the second one stays valid
            self.add("ALTER USER %s DISCARD OLD PASSWORD" % self.who)

    def ways(self):
        """Return the ways in which an account of MariaDB can log in, as IDENTIFIED VIA takes them."""
        line = list(self.client.ask("SHOW CREATE USER %s" % self.who)[0].values())[0]
        plain = re.search(r"IDENTIFIED BY PASSWORD ('[^']*')", line)
        if plain:
            return ["mysql_native_password USING " + plain.group(1)]
        via = re.search(r"IDENTIFIED VIA (.*?)(?: REQUIRE .*| WITH .*| PASSWORD EXPIRE.*| ACCOUNT LOCK.*)?$", line)
        return via.group(1).split(" OR ") if via else []

    def second(self):
        """Whether an account of MySQL has a secondary password."""
        rows = self.client.ask("SELECT User_attributes AS a FROM mysql.user WHERE User = %s AND Host = %s"
                               % (literal(self.p["user"]), literal(self.p["host"])))
        return "additional_password" in rows[0]["a"]

    def level(self, text):
        return ".".join("*" if part == "*" else name(part.strip("`")) for part in text.split("."))

    def one(self, privilege):
        p = " ".join(privilege.upper().split())
        return SYNONYMS.get(p, p) if self.maria else p

    def granted(self):
        out = {}
        for row in self.client.ask("SHOW GRANTS FOR %s" % self.who):
            m = re.match(r"GRANT (.*) ON (\S+) TO ", list(row.values())[0])
            if not m:
                continue
            has = {self.one(x) for x in m.group(1).split(",")} - {"USAGE"}
            if has:
                out.setdefault(self.level(m.group(2).replace("\\_", "_")), set()).update(has)
        return out


def text(grants):
    return "".join("%s: %s\n" % (level, ", ".join(sorted(grants[level]))) for level in sorted(grants) if grants[level])


def main():
    module = AnsibleModule(
        argument_spec=dict(
            user=dict(type="str", required=True),
            host=dict(type="str", default="%"),
            password=dict(type="str", required=True, no_log=True),
            retain=dict(type="bool", default=False),
            discard=dict(type="bool", default=False),
            privileges=dict(type="dict"),
            **OPTIONS
        ),
        supports_check_mode=True,
    )
    account = Account(module)
    if module.check_mode and not account.client.there:
        module.exit_json(changed=True, statements=[], msg="there is no server yet")
    try:
        before, after = account.plan()
        if account.do and not module.check_mode:
            account.client.write(*account.do)
    except Failed as why:
        module.fail_json(msg="account %s: %s" % (account.who, why))
    module.exit_json(changed=bool(account.do), statements=account.says,
                     diff=dict(before=text(before), after=text(after)))


if __name__ == "__main__":
    main()
