#!/usr/bin/python

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: replica
short_description: Makes a MySQL or MariaDB server replicate from another by GTID, so that a death is noticed quickly
description:
  - Makes a server that has never replicated follow its source.
    - A server that already replicates keeps its source. A failover may have moved it, so orchestrator decides.
    Only its connection settings are changed. Its password is not compared.
options:
  source_host:
    description: The source.
    type: str
    required: true
  source_port:
    description: Its port.
    type: int
    default: 3306
  user:
    description: The replication account there.
    type: str
    required: true
  password:
    description: Its password. On MySQL it has at most 32 characters.
    type: str
    required: true
  renew:
    description: Gives the password to a server that already replicates, whatever its source.
    type: bool
    default: false
  tls:
    description: Use TLS.
    type: bool
    default: false
  tls_ca:
    description: PEM file on the replica, with the authorities of the source's certificate.
    type: path
  get_public_key:
    description:
      - A new replica of MySQL without TLS asks its source for the public key that the password is encrypted with.
      - Anyone who answers at the address of the source gets the password.
    type: bool
    default: false
  retry:
    description: Seconds until the replica reconnects to a lost source.
    type: int
    default: 1
  heartbeat:
    description: Seconds between heartbeats of an idle source.
    type: int
    default: 2
  fresh:
    description: Set up replication only if the server has executed nothing yet.
    type: bool
    default: true
extends_documentation_fragment:
  - orchestrator.fleet.server
author:
  - The orchestrator authors
"""

EXAMPLES = r"""
- name: Follow the first primary
  orchestrator.fleet.replica:
    source_host: 192.0.2.11
    user: replication
    password: "{{ monitored_replication_password }}"
"""

RETURN = r"""
source:
  description: The current source of the server, or "".
  returned: always
  type: str
executed:
  description: What it has executed, or "".
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.orchestrator.fleet.plugins.module_utils.client import OPTIONS, Client, Failed, literal

LONGEST = 32  # characters that MySQL takes for the password of CHANGE REPLICATION SOURCE TO


class Replica:
    def __init__(self, module):
        self.client = Client(module)
        self.p = module.params
        self.do = []
        self.before, self.after = {}, {}

    def look(self):
        self.maria = self.client.mariadb()
        if self.maria:
            rows = self.client.ask("SHOW ALL SLAVES STATUS")
            executed = self.client.ask("SELECT CONCAT(@@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_pos) AS executed")
        else:
            rows = self.client.ask("SHOW REPLICA STATUS")
            executed = self.client.ask("SELECT @@GLOBAL.gtid_executed AS executed")
        self.status = rows[0] if rows else None
        self.executed = executed[0]["executed"]

    def get(self, *names):
        for n in names:
            if n in self.status:
                return self.status[n]
        return ""

    @property
    def source(self):
        if not self.status:
            return ""
        return "%s:%s" % (self.get("Master_Host", "Source_Host"), self.get("Master_Port", "Source_Port"))

    def plan(self):
        self.look()
        word = "MASTER" if self.maria else "SOURCE"
        p = self.p
        options = {"%s_CONNECT_RETRY" % word: str(p["retry"])}
        if self.maria or p["tls"]:  # MySQL has a default of its own, which is TLS since version 9
            options["%s_SSL" % word] = "1" if p["tls"] else "0"
        if p["tls"] and p["tls_ca"]:
            options["%s_SSL_CA" % word] = literal(p["tls_ca"])
        if self.status is None:
            if p["fresh"] and self.executed:
                return
            options["%s_HOST" % word] = literal(p["source_host"])
            options["%s_PORT" % word] = str(p["source_port"])
            options["%s_USER" % word] = literal(p["user"])
            options["%s_PASSWORD" % word] = self.password()
            options["%s_HEARTBEAT_PERIOD" % word] = str(p["heartbeat"])
            if self.maria:
                options["MASTER_USE_GTID"] = "slave_pos"
            else:
                options["SOURCE_AUTO_POSITION"] = "1"
                options["SOURCE_RETRY_COUNT"] = "86400"
                if p["get_public_key"]:
                    options["GET_SOURCE_PUBLIC_KEY"] = "1"
            self.change(options, running=False)
            return
        has = {
            "%s_CONNECT_RETRY" % word: self.get("Connect_Retry"),
            "%s_SSL" % word: "1" if self.get("Master_SSL_Allowed", "Source_SSL_Allowed") == "Yes" else "0",
            "%s_SSL_CA" % word: literal(self.get("Master_SSL_CA_File", "Source_SSL_CA_File")),
        }
        differ = {k: v for k, v in options.items() if has[k] != v}
        if p["renew"]:
            differ["%s_USER" % word] = literal(p["user"])
            differ["%s_PASSWORD" % word] = self.password()
        if differ:
            self.before = {k: has[k] for k in differ if k in has}
            self.change(differ, running="No" not in (self.get("Slave_IO_Running", "Replica_IO_Running"),
                                                     self.get("Slave_SQL_Running", "Replica_SQL_Running")))

    def password(self):
        if not self.maria and len(self.p["password"]) > LONGEST:  # the server's own error would print it
            raise Failed("the password of %s has %d characters; MySQL allows at most %d for replication"
                         % (self.p["user"], len(self.p["password"]), LONGEST))
        return literal(self.p["password"])

    def change(self, options, running):
        self.after = {k: "***" if k.endswith("PASSWORD") else v for k, v in options.items()}
        change = "CHANGE MASTER TO " if self.maria else "CHANGE REPLICATION SOURCE TO "
        stop, start = ("STOP SLAVE", "START SLAVE") if self.maria else ("STOP REPLICA", "START REPLICA")
        self.do = ([stop] if self.status else []) + [change + ", ".join("%s = %s" % i for i in sorted(options.items()))]
        if running or not self.status:  # one that somebody stopped stays stopped
            self.do.append(start)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            source_host=dict(type="str", required=True),
            source_port=dict(type="int", default=3306),
            user=dict(type="str", required=True),
            password=dict(type="str", required=True, no_log=True),
            renew=dict(type="bool", default=False),
            tls=dict(type="bool", default=False),
            get_public_key=dict(type="bool", default=False),
            tls_ca=dict(type="path"),
            retry=dict(type="int", default=1),
            heartbeat=dict(type="int", default=2),
            fresh=dict(type="bool", default=True),
            **OPTIONS
        ),
        supports_check_mode=True,
    )
    replica = Replica(module)
    if module.check_mode and not replica.client.there:
        module.exit_json(changed=True, source="", executed="", msg="there is no server yet")
    try:
        replica.plan()
        if replica.do and not module.check_mode:
            replica.client.do(*replica.do)
            replica.look()
    except Failed as why:
        module.fail_json(msg="replicate from %s:%d: %s"
                         % (module.params["source_host"], module.params["source_port"], why))
    show = lambda d: "".join("%s = %s\n" % (k, d[k]) for k in sorted(d))
    module.exit_json(changed=bool(replica.do), source=replica.source, executed=replica.executed,
                     diff=dict(before=show(replica.before), after=show(replica.after)))


if __name__ == "__main__":
    main()
