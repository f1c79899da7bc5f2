# Completion of zoo for fish. To have it in every shell:
#     zoo completion fish > ~/.config/fish/completions/zoo.fish

function __zoo_candidates
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (command $words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = '<files>'
            set -l key (string match -r -- '^[^=]*=' "$current")
            for file in (__fish_complete_path (string replace -r -- '^[^=]*=' '' "$current"))
                echo "$key$file"
            end
        else
            echo $line
        end
    end
end

complete -c zoo -f -a '(__zoo_candidates)'
