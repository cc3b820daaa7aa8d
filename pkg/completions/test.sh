#!/bin/sh
# Tries the completions in FOLDER (`cargo run -p completions -- FOLDER`) with the TAB key of a real
# bash and a real zsh at a terminal, and with what fish itself says that it would complete.
set -eu

folder="$(realpath "${1:?usage: pkg/completions/test.sh FOLDER}")"
home="$(mktemp -d)"
trap 'rm -rf "${home}"' EXIT

# What shell -i, told to run the lines of a file first, does with the keys that are typed.
typed() { # shell with its options, lines to run first, keys
	# shellcheck disable=SC2016 # the script's own words
	printf '%s\nknockctl() { echo "ran: knockctl $*"; }\nknock() { echo "ran: knock $*"; }\n' \
		"$2" >"${home}/first"
	printf '. %s\n%b\nexit\n' "${home}/first" "$3" |
		HOME="${home}" ZDOTDIR="${home}" TERM=dumb script -qec "$1" /dev/null
}
completes() { # shell, its options, lines to run first, keys, what must be run
	if typed "$1 $2" "$3" "$4" | grep -q "^ran: $5.\{0,2\}\$"; then
		printf 'ok: %s makes "%s" to "%s"\n' "$1" "$4" "$5"
	else
		printf 'FAILED: %s does not make "%s" to "%s"\n' "$1" "$4" "$5"
		exit 1
	fi
}
each() { # shell, its options, lines to run first
	completes "$1" "$2" "$3" 'knockctl ga\tsh\t' "knockctl gate show"
	completes "$1" "$2" "$3" 'knockctl doc\t' "knockctl doctor"
	completes "$1" "$2" "$3" 'knock --no-c\t' "knock --no-claim"
	completes "$1" "$2" "$3" 'knock enr\t' "knock enroll"
}

each bash "--norc --noprofile -i" ". ${folder}/knock.bash; . ${folder}/knockctl.bash"
each zsh "-f -i" "fpath=(${folder} \$fpath); autoload -Uz compinit; compinit -u -D"
for shell in bash zsh fish; do
	for file in "${folder}"/*."${shell}" "${folder}"/_*; do
		case "${file}" in
		*."${shell}") ;;
		*) [ "${shell}" = zsh ] || continue ;;
		esac
		[ ! -e "${file}" ] || "${shell}" -n "${file}"
	done
done
echo "ok: each file is of its shell's grammar"

fish_says() { # line, what must be among the words that fish offers
	found="$(HOME="${home}" fish -c "source ${folder}/${1%% *}.fish; complete -C '$1'")"
	if printf '%s\n' "${found}" | grep -q "^$2"; then
		echo "ok: fish makes \"$1\" to \"$2\""
	else
		echo "FAILED: fish does not make \"$1\" to \"$2\", but to: ${found}"
		exit 1
	fi
}
fish_says "knockctl ga" gate
fish_says "knock enr" enroll
fish_says "knockd --only" --only-ip-v4
echo "passed"
