"""Asks a MySQL or MariaDB server through its own command line client, so that a managed host needs no Python driver.

Statements go to the client's standard input, and passwords into a private file: neither ever appears in a list of
processes.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import tempfile
from xml.etree import ElementTree

OPTIONS = dict(
    socket=dict(type="path", default="/run/mysqld/mysqld.sock"),
    login_file=dict(type="path"),
)


class Failed(Exception):
    """A statement that the server, or the client, refused."""


def literal(text):
    """Write a string literal for every sql_mode except NO_BACKSLASH_ESCAPES, which the session never has."""
    return "'" + str(text).replace("\\", "\\\\").replace("'", "\\'") + "'"


def name(text):
    """Quote an identifier."""
    return "`" + str(text).replace("`", "``") + "`"


class Client:
    def __init__(self, module):
        self.module = module
        self.program = module.get_bin_path("mariadb") or module.get_bin_path("mysql")

    @property
    def there(self):
        """Whether there is a server. On a bare host, in check mode, there is none yet."""
        return bool(self.program) and os.path.exists(self.module.params["socket"])

    def run(self, sql, defaults=None):
        command = [self.program]
        login = defaults or self.module.params["login_file"]
        if login:
            command.append("--defaults-file=" + login)
        command += ["--socket=" + self.module.params["socket"], "--protocol=socket", "--xml",
                    "--default-character-set=utf8mb4"]
        prefix = "SET SESSION sql_mode = '';\n"
        code, out, err = self.module.run_command(command, data=prefix + sql + ";\n")
        if code != 0:
            raise Failed(err.strip() or "the client exited with code %d" % code)
        return out

    def ask(self, sql):
        """Return the rows of one statement, each as a dictionary."""
        out = self.run(sql).strip()
        if not out:
            return []
        rows = []
        for row in ElementTree.fromstring(out.encode("utf-8")).findall("row"):
            rows.append({f.get("name"): f.text or "" for f in row.findall("field")})
        return rows

    def do(self, *statements):
        """Run statements in one session. They do not enter a binary log: each server gets them separately."""
        self.run("SET SESSION sql_log_bin = 0;\n" + ";\n".join(statements))

    def write(self, *statements):
        """Run statements that write to tables, such as accounts, even on a MySQL server that is super read-only.

        There even root can't write, so it is switched off for the moment; read_only stays on, and blocks everybody
        else. If the server is promoted in that moment, it stays writable.
        """
        lifted = bool(self.ask("SHOW GLOBAL VARIABLES WHERE Variable_name = 'super_read_only' AND Value = 'ON'"))
        if lifted:
            self.run("SET GLOBAL super_read_only = OFF")
        try:
            self.do(*statements)
        finally:
            if lifted:
                self.protect()

    def protect(self):
        """Set super_read_only again. It waits for locks, and replication waits with it, so not for long."""
        try:
            self.run("SET SESSION lock_wait_timeout = 10;\nSET GLOBAL super_read_only = @@GLOBAL.read_only")
        except Failed as why:
            raise Failed("super_read_only was ON and could not be set again, so root can write there; "
                         "SET GLOBAL super_read_only = ON: %s" % why)

    def login(self, user, password):
        """Whether the account can log in with that password."""
        handle, path = tempfile.mkstemp(dir=self.module.tmpdir)
        try:
            with os.fdopen(handle, "w") as f:
                quoted = password.replace("\\", "\\\\").replace('"', '\\"')
                f.write('[client]\nuser="%s"\npassword="%s"\n' % (user, quoted))
            self.run("SELECT 1", defaults=path)
            return True
        except Failed as why:
            if "1045" in str(why) or "1698" in str(why) or "4151" in str(why):
                return False
            raise
        finally:
            os.unlink(path)

    def mariadb(self):
        return "mariadb" in self.ask("SELECT VERSION() AS version")[0]["version"].lower()
