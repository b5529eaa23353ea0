# A Docker engine in namespaces of its own, for the scripts in this directory, so that
# nothing of it outlives them and no port of this machine is used. This needs root. Where
# it is not possible, the script reports that it did not run and exits with 3; with
# CI=true it fails.
#
# A script calls prepare_engine and in_namespaces, which runs the script again with the
# argument inside. That calls start_dockerd. WORK is a directory for both.

namespaces=

# has_engine reports whether dockerd and a static busybox are installed.
has_engine() {
	command -v dockerd >/dev/null && command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1
}

# refuse REASON ends the script because it cannot run here.
refuse() {
	printf 'NOT RUN, NOT TESTED: %s\n' "$1"
	if [[ ${CI-} == true ]]; then
		exit 1
	fi
	exit 3
}

# engine prints a directory with the packages of Debian that dockerd needs and that are
# not installed. It unpacks them in the cache, without installing them.
engine() {
	local path=$SYNCPLANE_CACHE/verify/docker packages options=()
	if [[ ! -e $path/complete ]]; then
		printf 'unpacking the Docker engine once\n' >&2
		rm -rf "$path"
		mkdir -p "$path/lists/partial" "$path/archives/partial" "$path/root"
		options=(-o "Dir::State::lists=$path/lists" -o "Dir::Cache=$path" -o APT::Sandbox::User=root)
		apt-get "${options[@]}" --quiet=2 update >&2
		packages=$(apt-get "${options[@]}" --simulate --no-install-recommends install docker.io busybox-static |
			awk '$1 == "Inst" { print $2 }')
		# shellcheck disable=SC2086 # it is a list
		(cd "$path/archives" && apt-get "${options[@]}" --quiet=2 download $packages >&2)
		for package in "$path"/archives/*.deb; do
			dpkg --extract "$package" "$path/root"
		done
		rm -rf "$path/lists" "$path/archives" "$path"/*.bin
		touch "$path/complete"
	fi
	printf '%s' "$path/root"
}

# await SECONDS COMMAND… waits until a command succeeds.
await() {
	local tries=$(($1 * 10))
	shift
	while ! "$@" >/dev/null 2>&1; do
		if ((--tries == 0)); then
			printf 'no success in time: %s\n' "$*"
			return 1
		fi
		sleep 0.1
	done
}

# start_dockerd starts the engine, and sets DOCKER_HOST.
start_dockerd() {
	export DOCKER_HOST=unix:///run/docker.sock
	dockerd --host "$DOCKER_HOST" --data-root "$WORK/docker" --exec-root /run/docker --pidfile /run/docker.pid \
		--storage-driver vfs --iptables=false --ip6tables=false \
		--exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$CGROUP" >"$WORK/dockerd.log" 2>&1 &
	await 60 curl --silent --fail --unix-socket /run/docker.sock http://docker/_ping
}

# finish_engine ends what prepare_engine and in_namespaces started.
finish_engine() {
	local status=$?
	if [[ -n $namespaces ]]; then
		kill -KILL "$namespaces" 2>/dev/null || true # ends all processes in them
	fi
	# The engine makes control groups, which are not in a namespace.
	find /sys/fs/cgroup -depth -type d -path "*$CGROUP*" -exec rmdir {} + 2>/dev/null || true
	rm -rf "$WORK"
	exit "$status"
}

# prepare_engine finds or unpacks the engine, and sets PATH and WORK.
prepare_engine() {
	local root libraries
	if ((EUID != 0)) || ! unshare --net --mount --pid --ipc --uts --fork --mount-proc true 2>/dev/null; then
		refuse 'a Docker engine needs root and namespaces'
	fi
	root=
	if ! has_engine; then
		command -v apt-get >/dev/null || refuse 'there is no dockerd and no apt-get'
		root=$(engine)
	fi
	WORK=$(mktemp -d)
	CGROUP=/syncplane-$$
	export WORK CGROUP
	trap finish_engine EXIT
	trap 'exit 130' INT TERM
	if [[ -n $root ]]; then
		PATH=$root/usr/sbin:$root/usr/bin:$root/bin:$PATH
		libraries=$(find "$root" -name '*.so*' -printf '%h\n' | sort -u | paste --serial --delimiters=:)
		export LD_LIBRARY_PATH=$libraries
	fi
}

# in_namespaces runs the script in namespaces, with the argument inside.
in_namespaces() {
	unshare --net --mount --pid --ipc --uts --fork --kill-child --mount-proc "$0" inside &
	namespaces=$!
	wait "$namespaces"
	namespaces=
}
