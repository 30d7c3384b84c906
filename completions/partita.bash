# bash completion of partita(1)

_partita() {
    local cur prev words cword
    _init_completion -s -n : || return

    local command=
    local word
    for word in "${words[@]:1:cword-1}"; do
        case $word in
        run | host)
            command=$word
            break
            ;;
        esac
    done
    if [[ -z $command ]]; then
        COMPREPLY=($(compgen -W 'run host --help --version' -- "$cur"))
        return
    fi

    case $prev in
    --kernel | --initrd)
        _filedir
        return
        ;;
    --engine)
        COMPREPLY=($(compgen -W 'auto kvm soft' -- "$cur"))
        return
        ;;
    --cpu)
        COMPREPLY=($(compgen -W 'x86-64-v2 x86-64-v3 host' -- "$cur"))
        return
        ;;
    --serial)
        if [[ $cur == file:* ]]; then
            cur=${cur#file:}
            _filedir
        else
            COMPREPLY=($(compgen -W 'stdio file: pty none' -- "$cur"))
            [[ ${COMPREPLY-} == *: ]] && compopt -o nospace
            __ltrim_colon_completions "$cur"
        fi
        return
        ;;
    --memory)
        COMPREPLY=($(compgen -W '256M 512M 1G 2G 4G' -- "$cur"))
        return
        ;;
    --cpus | --append)
        return
        ;;
    esac

    case $command in
    run)
        COMPREPLY=($(compgen -W '--kernel --initrd --append --memory --cpus --engine --cpu
            --serial --debug-exit --help' -- "$cur"))
        ;;
    host) COMPREPLY=($(compgen -W '--help' -- "$cur")) ;;
    esac
} && complete -F _partita partita
