# bash completion of partita(1): the program itself knows what may follow.

_partita() {
    local cur prev words cword candidates
    if declare -F _init_completion >/dev/null; then
        _init_completion -n : || return
    else
        words=("${COMP_WORDS[@]:0:COMP_CWORD+1}")
        cword=$COMP_CWORD
        cur=${words[cword]}
    fi

    candidates=$("${words[0]}" __complete "${words[@]:1:cword}" 2>/dev/null) || return
    COMPREPLY=()
    if [[ $cur == file:* && ${words[cword - 1]} == --serial ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "${cur#file:}")
        compopt -o filenames 2>/dev/null
    elif [[ $candidates == :files ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        compopt -o filenames 2>/dev/null
    elif [[ -n $candidates ]]; then
        mapfile -t COMPREPLY <<<"$candidates"
        [[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null
        # The shell takes a colon for the end of a word.
        declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
    fi
    return 0
} && complete -F _partita partita
