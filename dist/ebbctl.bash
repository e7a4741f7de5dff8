# SPDX-License-Identifier: MIT
# Completion of ebbctl(8) for bash.

# Mount points of type fuse.ebbfs, a line each; mountinfo writes blanks as \040.
_ebbctl_mounts()
{
	local rest point

	while IFS=' ' read -r _ _ _ _ point rest; do
		[[ $rest == *' - fuse.ebbfs '* ]] && printf '%b\n' "${point//\\/\\0}"
	done 2>/dev/null </proc/self/mountinfo
}

# Fills COMPREPLY with the words given that begin with what is typed.
_ebbctl_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_ebbctl_mountpoints()
{
	local point

	while IFS= read -r point; do
		[[ $point == "$1"* ]] && COMPREPLY+=("$(printf '%q' "$point")")
	done < <(_ebbctl_mounts)
}

_ebbctl_paths()
{
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# -o of rebuild: the word's last part, behind the last comma.
_ebbctl_rebuild_options()
{
	local cur=$1 before= last=$1

	if [[ $cur == *,* ]]; then
		before=${cur%,*},
		last=${cur##*,}
	fi
	compopt -o nospace 2>/dev/null
	case $last in
	*=*) ;;
	*) mapfile -t COMPREPLY < <(compgen -P "$before" -W 'meta= store= node= store_timeout=' -- "$last") ;;
	esac
}

_ebbctl()
{
	local commands='status state archive release restore drain locate verify lost trash rebuild'
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command= sub= options= i word

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-m | --mount | -o) ((i++)) ;;
		-*) ;;
		*)
			if [[ -z $command ]]; then
				command=$word
			elif [[ -z $sub ]]; then
				sub=$word
			fi
			;;
		esac
	done

	case $prev in
	-m | --mount)
		_ebbctl_mountpoints "$cur"
		return
		;;
	-o)
		[[ $command == rebuild ]] && _ebbctl_rebuild_options "$cur"
		return
		;;
	esac

	if [[ -z $command ]]; then
		if [[ $cur == -* ]]; then
			_ebbctl_words '-m --mount -h --help -V --version' "$cur"
		else
			_ebbctl_words "$commands" "$cur"
		fi
		return
	fi

	options='-m --mount -h --help --json'
	case $command in
	archive | restore) options+=' --all' ;;
	release) options+=' --all --dry-run' ;;
	trash) options+=' --yes --dry-run' ;;
	rebuild) options='-h --help --json -o' ;;
	esac
	if [[ $cur == -* ]]; then
		_ebbctl_words "$options" "$cur"
		return
	fi
	case $command in
	state | archive | release | restore | verify) _ebbctl_paths "$cur" ;;
	trash)
		if [[ -z $sub ]]; then
			_ebbctl_words 'list restore empty' "$cur"
		elif [[ $sub == restore ]]; then
			_ebbctl_paths "$cur"
		fi
		;;
	esac
}

complete -F _ebbctl ebbctl
