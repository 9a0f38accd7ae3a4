"""Conversations as entities: threads, messages, tools, configs and outputs."""

from minference.storage.modules import register_table_module

register_table_module("minference.threads.tables")
