# Completion of moonpool for bash. Written by script/papers of the table of options.
_moonpool_words() {
  local word=$1 before=$2 verb=$3
  case $before in
    --workers) compgen -W 'auto' -- "$word"; return ;;
    --threads) compgen -W 'auto' -- "$word"; return ;;
    --user) compgen -u -- "$word"; return ;;
    --group) compgen -g -- "$word"; return ;;
    --chdir) compgen -d -- "$word"; return ;;
    --pid) compgen -f -- "$word"; return ;;
    --access-log) compgen -f -- "$word"; return ;;
    --error-log) compgen -f -- "$word"; return ;;
    --log-level) compgen -W 'debug info warn error' -- "$word"; return ;;
    --log-format) compgen -W 'text json' -- "$word"; return ;;
    --control-socket) compgen -f -- "$word"; return ;;
    --lua) compgen -d -- "$word"; return ;;
    --override) compgen -d -- "$word"; return ;;
    --listen | --backlog | --max-connections | --max-procs | --timeout | --request-timeout | --boot-timeout | --graceful-timeout | --drain-idle | --keep-alive | --header-timeout | --body-timeout | --write-timeout | --max-body | --limit-request-line | --limit-request-fields | --limit-request-field-size | --limit-request-head | --limit-pipeline | --max-memory | --max-rss | --max-lifetime | --max-requests | --max-requests-jitter | --shared-memory | --umask | --access-log-format | --slow-callback | --slow-request | --trusted-proxies | --metrics-listen | --health | --public-key) return ;;
    --config | --socket | -s) compgen -f -- "$word"; return ;;
    -o | --output | --list | --verify | --sign | --program) compgen -f -- "$word"; return ;;
    --kind) compgen -W 'site api device' -- "$word"; return ;;
  esac
  case $verb in
    '') compgen -W 'serve dev new check test ctl bundle version help' -- "$word" ;;
    ctl) compgen -W 'status workers requests tasks processes dump reload scale stop --socket --json' -- "$word" ;;
    bundle) compgen -W '--list --verify --dotfiles --exclude --program --sign --public-key -o' -- "$word"; compgen -f -- "$word" ;;
    new) compgen -W '--kind' -- "$word" ;;
    help) compgen -W 'options' -- "$word" ;;
    version) ;;
    *)
      case $word in
        -*) compgen -W '--listen --backlog --max-connections --workers --threads --max-procs --timeout --request-timeout --boot-timeout --graceful-timeout --drain-idle --keep-alive --header-timeout --body-timeout --write-timeout --max-body --limit-request-line --limit-request-fields --limit-request-field-size --limit-request-head --limit-pipeline --max-memory --max-rss --max-lifetime --max-requests --max-requests-jitter --shared-memory --user --group --umask --chdir --pid --no-new-privs --access-log --access-log-format --error-log --log-level --log-format --slow-callback --slow-request --trusted-proxies --proxy-protocol --server-header --compress --control-socket --metrics-listen --health --dev --watch --lua --override --public-key --config --print-config' -- "$word" ;;
        *) compgen -f -- "$word" ;;
      esac ;;
  esac
}

_moonpool() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb=
  [[ $COMP_CWORD -gt 1 ]] && verb=${COMP_WORDS[1]}
  mapfile -t COMPREPLY < <(_moonpool_words "$word" "$before" "$verb")
}
complete -o filenames -F _moonpool moonpool
