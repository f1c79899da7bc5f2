# Completion of zoo for bash. To have it in every shell:
#     echo 'eval "$(zoo completion bash)"' >> ~/.bashrc

_zoo() {
    local line=${COMP_LINE:0:COMP_POINT} part current prefix files='' i word
    local -a words=()
    # Bash takes a word apart at = and : (COMP_WORDBREAKS); parts with nothing between them are one word of ours.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        part=${COMP_WORDS[i]}
        if [[ ${#words[@]} -eq 0 || $line == [[:blank:]]* ]]; then
            words+=('')
            line=${line#"${line%%[![:blank:]]*}"}
        fi
        [[ $i -lt $COMP_CWORD && $line == "$part"* ]] || part=$line # the last one ends at the cursor
        words[-1]+=$part
        line=${line#"$part"}
    done
    current=${words[-1]}
    # What bash takes for earlier words of the line is not replaced.
    prefix=''
    [[ $COMP_WORDBREAKS == *=* && $current == *=* ]] && prefix=${current%"${current##*=}"}
    [[ $COMP_WORDBREAKS == *:* && $current == *:* ]] && part=${current%"${current##*:}"} && [[ ${#part} -gt ${#prefix} ]] && prefix=$part
    COMPREPLY=()
    while IFS= read -r word; do
        word=${word%%$'\t'*}
        if [[ $word == '<files>' ]]; then
            files=yes
        elif [[ -n $word ]]; then
            COMPREPLY+=("${word#"$prefix"}")
        fi
    done < <("${words[0]/#\~\//$HOME/}" __complete "${words[@]:1}" 2>/dev/null)
    if [[ -n $files && (${#COMPREPLY[@]} -gt 0 || -z $prefix) && $current == *=* ]]; then
        # Without names of ours bash completes files by itself (-o default), from the = on.
        local value=${current#*=} key=${current%%=*}=
        while IFS= read -r word; do
            word=$key$word
            [[ -d ${word#"$key"} ]] && word+=/
            COMPREPLY+=("${word#"$prefix"}")
        done < <(compgen -f -- "$value")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace 2>/dev/null
    return 0
}

complete -o default -F _zoo zoo
