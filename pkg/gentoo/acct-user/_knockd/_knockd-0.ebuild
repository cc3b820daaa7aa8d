# Copyright 2026 The Postern authors
# Distributed under the terms of the MIT license or of the Apache License 2.0

EAPI=8

inherit acct-user

DESCRIPTION="Account of the process of knockd that reads packets; it owns no file"
ACCT_USER_ID=-1
ACCT_USER_GROUPS=( _knockd )
ACCT_USER_HOME=/

acct-user_add_deps
