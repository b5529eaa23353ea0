# Functions and settings for the scripts in this directory. Source it from the
# repository's root: `source verify/lib.sh`.

: "${SYNCPLANE_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/syncplane}"

# Without this, a make below `make verify` prints its directory, and its output differs
# from that in the documentation.
unset MAKEFLAGS MFLAGS MAKELEVEL

# No call to AWS, no telemetry.
export AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export SAM_CLI_TELEMETRY=0 CKV_SKIP_PACKAGE_UPDATE_CHECK=true
export PYTHONDONTWRITEBYTECODE=1

# venv NAME prints the directory of the programs of verify/requirements-NAME.txt. It
# installs them if the cache lacks these versions.
venv() {
	local list=verify/requirements-$1.txt hash path
	hash=$({ python3 --version && cat "$list"; } | git hash-object --stdin)
	path=$SYNCPLANE_CACHE/verify/$1-${hash:0:16}
	if [[ ! -e $path/complete ]]; then
		printf 'installing %s once\n' "$list" >&2
		rm -rf "$SYNCPLANE_CACHE/verify/$1"-*
		python3 -m venv "$path" >&2
		"$path/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$list" >&2
		touch "$path/complete"
	fi
	printf '%s/bin' "$path"
}

# node_modules DIRECTORY prints a directory that holds the packages of
# verify/DIRECTORY/package-lock.json. It installs them if the cache lacks these versions.
node_modules() {
	local hash path
	hash=$({ node --version && cat "verify/$1/package-lock.json"; } | git hash-object --stdin)
	path=$SYNCPLANE_CACHE/verify/$1-${hash:0:16}
	if [[ ! -e $path/complete ]]; then
		printf 'installing verify/%s/package.json once\n' "$1" >&2
		rm -rf "$SYNCPLANE_CACHE/verify/$1"-*
		mkdir -p "$path"
		cp "verify/$1/package.json" "verify/$1/package-lock.json" "verify/$1/.npmrc" "$path"
		(cd "$path" && npm ci --no-audit --no-fund --ignore-scripts --prefer-offline --silent) >&2
		touch "$path/complete"
	fi
	printf '%s' "$path"
}
