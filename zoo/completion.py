"""`python -m zoo.completion bash|zsh|fish`: print the script by which a shell completes what you type behind `zoo`.

    bash   echo 'eval "$(zoo completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(zoo completion zsh)"' >> ~/.zshrc         (behind the line with compinit, if there is one)
    fish   zoo completion fish > ~/.config/fish/completions/zoo.fish

Completed are commands, their keys and options; names of recipes, adapters, methods and tasks, those of installed
packages too; keys of the recipe that stands in the line, and their values; and files.
"""

import sys

from zoo.command_line import fail, parse_arguments
from zoo.shell import scripts


def main(argv: list[str] | None = None) -> int:
    """Print a script; exit code 2 where there is none for this shell."""
    arguments, _ = parse_arguments(argv, __doc__ or "", required=("shell",), bare="shell")
    if arguments["shell"] not in scripts.shells():
        fail([f"no completion for '{arguments['shell']}'; expected {' or '.join(scripts.shells())}"])
    print(scripts.script(arguments["shell"]), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
