# shellcheck shell=sh
# Part of certs/provision: calls of the AWS CLI. `look` asks, `change` and `delete` act; with --dry-run only `look` calls. Each counts its
# changes in $changes, leaves the answer in $work/answer, and explains what went wrong.

# document FILE: of JSON, one statement and one resource a line
document() {
    sed 's/{"Effect"/\n    &/g; s/,"Action"/,\n     "Action"/g; s/,"\(Resource\|Principal\)"/,\n     "\1"/g; s/,"arn:/,\n         "arn:/g; s/$/\n/' "$1"
}

# Prints the words of a call so that a shell would take them again, and below it each document that it hands over.
show() {
    line="$1: aws" documents=
    shift
    for word in "$@"; do
        case $word in
        "file://$work/"*.json) documents="$documents ${word##*/}" word=file://${word##*/} ;;
        "file://$work/"*) word=file://${word##*/} ;;
        esac
        case $word in
        *[!A-Za-z0-9_./:=,@%+-]*) line="$line '$word'" ;;
        *) line="$line $word" ;;
        esac
    done
    echo "$line" >&2
    for file in $documents; do
        { echo "$file:" && document "$work/$file"; } | sed 's/^/    /' >&2
    done
}

explain() {
    case $1 in
    *AccessDenied* | *UnauthorizedOperation* | *"not authorized to perform"*)
        echo "you (${caller:-unknown}) lack the right for this call; docs/security.md lists the rights that are needed" ;;
    *ExpiredToken*) echo "your credentials have expired: log in again" ;;
    *InvalidClientTokenId* | *UnrecognizedClient* | *SignatureDoesNotMatch* | *InvalidSignature*)
        echo "AWS does not accept your credentials: wrong keys, wrong clock, or a region that is not enabled" ;;
    *"locate credentials"* | *"config profile"*)
        echo "give credentials: aws configure, AWS_PROFILE or --profile${SUDO_USER:+; sudo -E takes those of $SUDO_USER along}" ;;
    *"specify a region"*) echo "give a region: --region, AWS_REGION or aws configure" ;;
    *"connect to the endpoint"* | *"Could not resolve"*)
        echo "no connection: is region '${region:-}' spelled right, and is there a way to the Internet?" ;;
    *"Unknown options: --no-cli-pager"*)
        echo "$(command -v aws) is version 1 of the AWS CLI; version 2 is needed (Debian 12 and later: apt install awscli)" ;;
    *LimitExceeded* | *Throttling*) echo "a limit of the account: wait, or raise it in Service Quotas" ;;
    *DeleteConflict*) echo "something else still uses it: see the console" ;;
    *) echo "see the text above" ;;
    esac
}

run_aws() {
    aws "$@" --output text --no-cli-pager ${region:+--region "$region"} ${profile:+--profile "$profile"} \
        ${MQA_AWS_ENDPOINT:+--endpoint-url "$MQA_AWS_ENDPOINT"} >"$work/answer" 2>"$work/error" </dev/null
}

failed() {
    sed '/^$/d' "$work/error" >&2
    die "aws $1 $2 failed: $(explain "$(cat "$work/error")")"
}

missing() {
    grep -qE '\((ResourceNotFoundException|NoSuchEntity(Exception)?)\)' "$work/error"
}

# look CALL...: something that changes nothing; its answer is in $work/answer. 1 = what it asks for does not exist.
look() {
    [ -z "$dry" ] || show look "$@"
    run_aws "$@" && return
    missing || failed "$@"
    : >"$work/answer"
    return 1
}

# announce CALL...: counts a change and says it. 1 = it is only to be shown.
announce() {
    changes=$((changes + 1))
    if [ -n "$dry" ]; then
        show would "$@"
        : >"$work/answer"
        return 1
    fi
    say "aws $1 $2"
}

# change CALL...
change() {
    announce "$@" || return 0
    run_aws "$@" || failed "$@"
}

# delete CALL...: not there any more is good; what AWS still takes for attached is tried again.
delete() {
    announce "$@" || return 0
    tries=0
    until run_aws "$@"; do
        ! missing || return 0
        again 'DeleteConflict|InvalidRequestException|CertificateStateException' || failed "$@"
    done
}

# again ERRORS: waits, if it was one of these and has not been tried often enough
again() {
    tries=$((tries + 1))
    [ $tries -lt 10 ] || return 1
    grep -qE "\(($1)" "$work/error" || return 1
    sleep 1.5
}

# Creating what needs a role that was made a moment ago fails until AWS has spread the news.
change_soon() {
    announce "$@" || return 0
    tries=0
    until run_aws "$@"; do
        again InvalidRequestException || failed "$@"
    done
}

# "None" is how the CLI's text writes what is not there.
answer() {
    sed '/^None$/d' "$work/answer"
}
