# Completion of zoo for bash. To have it in every shell:
#     echo 'eval "$(zoo completion bash)"' >> ~/.bashrc

_zoo() {
    local line=${COMP_LINE:0:COMP_POINT} part current word prefix='' files='' i last=-1
    local -a words=()
    # Bash takes a word apart at = and : (COMP_WORDBREAKS); parts with nothing between them are one word of ours.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if [[ $last -lt 0 || $line == [[:blank:]]* ]]; then
            last=$((last + 1))
            words[last]=''
            line=${line#"${line%%[![:blank:]]*}"}
        fi
        [[ $i -lt $COMP_CWORD && $line == "$part"* ]] || part=$line # the last one ends at the cursor
        words[last]+=$part
        line=${line#"$part"}
    done
    current=${words[last]}
    # What bash takes for earlier words of the line stays as it is: it does not belong to what replaces the last one.
    for part in = :; do
        [[ $COMP_WORDBREAKS == *$part* && ${current#"$prefix"} == *$part* ]] && prefix=${current%"${current##*$part}"}
    done
    COMPREPLY=()
    while IFS= read -r word; do
        word=${word%%$'\t'*}
        if [[ $word == '<files>' ]]; then
            files=yes
        elif [[ -n $word ]]; then
            COMPREPLY+=("${word#"$prefix"}")
        fi
    done < <("${words[0]/#\~\//$HOME/}" __complete "${words[@]:1}" 2>/dev/null)
    # Bash completes files by itself (-o default), but only where it takes the key before them for a word of its own.
    if [[ -n $files && -z $prefix && $current == *=* ]]; then
        prefix=${current%%=*}=
        while IFS= read -r word; do
            [[ -d $word ]] && word+=/
            COMPREPLY+=("$prefix$word")
        done < <(compgen -f -- "${current#"$prefix"}")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2>/dev/null
    return 0
}

complete -o default -F _zoo zoo
