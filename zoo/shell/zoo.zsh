#compdef zoo
# Completion of zoo for zsh. To have it in every shell:
#     echo 'eval "$(zoo completion zsh)"' >> ~/.zshrc

_zoo() {
    local line word meaning files=
    local -a whole parts whole_shown parts_shown
    # (Q) takes off quotes; the last word ends at the cursor.
    for line in ${(f)"$(${(Q)words[1]/#\~\//$HOME/} __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)"}; do
        word=${line%%$'\t'*}
        meaning=${line#"$word"}
        meaning=${meaning#$'\t'}
        if [[ $word == '<files>' ]]; then
            files=yes
        elif [[ $word == *[=.] ]]; then
            parts+=("$word")
            parts_shown+=("${word}${meaning:+  -- $meaning}")
        else
            whole+=("$word")
            whole_shown+=("${word}${meaning:+  -- $meaning}")
        fi
    done
    (( $#whole )) && compadd -l -d whole_shown -a -- whole
    (( $#parts )) && compadd -l -S '' -d parts_shown -a -- parts
    if [[ -n $files ]]; then
        compset -P '*='
        _files
    fi
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _zoo zoo
