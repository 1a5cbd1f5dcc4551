"""Who speaks to the server, and what they may do.

certificates  what the server shows, and whose clients it takes
bearer, keys  tokens, and the keys that sign them
principals    callers, their scopes and projects
access        the one check before every handler
rereading     files that are read again when they change
"""
