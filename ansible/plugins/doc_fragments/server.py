"""The options with which modules connect to a server: those of module_utils/client.py."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  socket:
    description: Socket of the server.
    type: path
    default: /run/mysqld/mysqld.sock
  login_file:
    description: Option file with the administrator's login. By default root logs in through the socket.
    type: path
"""
