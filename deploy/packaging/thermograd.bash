# Completion of thermograd and thermograd-server in bash. What can be completed is asked of the
# programs themselves, so that it is never out of date.

# Flags of a --help page, "--name=" where they take a value.
_thermograd_flags() {
  "$@" --help 2>/dev/null | sed -nE \
    -e 's/^  (--[a-z_]+)=.*$/\1=/p' \
    -e 's/^  (--[a-z_]+)$/\1/p' \
    -e 's/^    (--[a-z_]+) \(.*$/\1=/p'
}

# Commands of `thermograd`.
_thermograd_commands() {
  "$1" --help 2>/dev/null | sed -nE -e '/^Commands:/,/^$/s/^  ([a-z]+) .*$/\1/p'
}

_thermograd() {
  local program=$1 word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}
  # A value follows the sign of equality, which bash makes a word of its own: it may be a file.
  if [[ "${word}" == "=" || "${COMP_WORDS[COMP_CWORD - 1]}" == "=" ]]; then
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "${word#=}")
  elif [[ "${program##*/}" == thermograd-server ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_thermograd_flags "${program}")" -- "${word}")
  elif ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "$(_thermograd_commands "${program}") --help" -- "${word}")
  elif [[ "${word}" == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_thermograd_flags "${program}" "${command}")" -- "${word}")
  else
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "${word}")
  fi
  [[ "${#COMPREPLY[@]}" -eq 1 && "${COMPREPLY[0]}" == *= ]] && compopt -o nospace
  return 0
}

complete -F _thermograd thermograd thermograd-server
