# Copyright 2026 The Postern authors
# Distributed under the terms of the MIT license or of the Apache License 2.0

EAPI=8

inherit acct-group

DESCRIPTION="Group of the process of knockd that reads packets"
ACCT_GROUP_ID=-1
