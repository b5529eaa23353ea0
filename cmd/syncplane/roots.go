package main

import _ "golang.org/x/crypto/x509roots/fallback" // the roots for a webhook where the system has none, as in the container image
