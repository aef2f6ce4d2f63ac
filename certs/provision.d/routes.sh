# shellcheck shell=sh
# Part of certs/provision: the words of --topic into the IoT policy that they need and no more, $work/policy.json.

# check_line OPTION LINE
check_line() {
    # Two quotes stand for an empty prefix; everything else would mean something to IAM or JSON.
    case $(printf %s "$2" | sed 's/^""//; s/ ""/ /g') in
    *[!\ -~]* | *[\"\\*?]* | *"\${"*) die "$1 $2: not possible in a route" ;;
    esac
    # What the broker would refuse must not reach AWS first.
    case /${2%% *}/ in
    *'#'[!/]* | *'#/'?* | *[!/]'#'* | *'+'[!/]* | *[!/]'+'*)
        die "$1 $2: '${2%% *}' is no topic filter: # stands for the rest, + for one level, each between slashes" ;;
    esac
}

resource() {
    printf '%s' "${list_sep}\"arn:$partition:iot:$region:$account:$1\""
    list_sep=,
}

# topics FILTER: the resources that publishing or receiving on the filter's topics needs. In IAM one * stands for any text.
topics() {
    case $1 in
    '#' | */'#')
        pattern=$(printf %s "${1%#}" | sed 's/+/*/g')
        [ -z "$pattern" ] || resource "topic/${pattern%/}"
        resource "topic/$pattern*"
        ;;
    *) resource "topic/$(printf %s "$1" | sed 's/+/*/g')" ;;
    esac
}

# resources KIND: of all routes; KIND is publish, retain, subscribe or receive
resources() {
    list_sep=
    if [ "$1" = publish ]; then resource "topic/mosquitto-aws/$name/check"; fi
    while IFS= read -r route; do
        [ -n "$route" ] || continue
        set -f
        # shellcheck disable=SC2086 # words
        set -- "$1" $route
        set +f
        case ${3:-}:${4:-} in
        [012]:out | [012]:in | [012]:both) die "--topic $route: '$4' stands before QoS" ;;
        [012]:*)
            kind=$1 pattern=$2
            shift 2
            set -- "$kind" "$pattern" out "$@"
            ;;
        esac
        remote=${6:-}
        [ "$remote" != '""' ] || remote=
        pattern=$2
        [ "$pattern" != '""' ] || pattern=
        filter=$remote$pattern
        case $1:${3:-out} in
        publish:out | publish:both) topics "$filter" ;;
        retain:out | retain:both) case $filter in '$'*) ;; *) topics "$filter" ;; esac ;;
        receive:in | receive:both) topics "$filter" ;;
        subscribe:in | subscribe:both) resource "topicfilter/$filter" ;;
        *:out | *:in | *:both) ;;
        *) die "--topic $route: '$3' is not out, in or both" ;;
        esac
        case ${4:-1} in 0 | 1 | 2) ;; *) die "--topic $route: QoS '$4' is not 0, 1 or 2" ;; esac
        [ $# -le 6 ] || die "--topic $route: more words than FILTER DIRECTION QOS LOCAL-PREFIX REMOTE-PREFIX"
    done <"$work/topics"
}

statement() {
    if [ -n "$2" ]; then printf '%s{"Effect":"Allow","Action":"%s","Resource":[%s]}' "$sep" "$1" "$2"; fi
    if [ -n "$2" ]; then sep=,; fi
}

write_policy() {
    list_sep=
    clients=$(
        resource "client/$name-check"
        if [ "$connections" -eq 1 ]; then
            resource "client/$name"
        else
            n=1
            while [ $n -le "$connections" ]; do
                resource "client/$name-$n"
                n=$((n + 1))
            done
        fi
    )
    publish=$(resources publish)
    retain=$(resources retain)
    subscribe=$(resources subscribe)
    receive=$(resources receive)
    # What begins with a wildcard would admit the shadows, jobs and rules of everybody; the routes do not mean them.
    reserved=
    case $publish$receive in
    *':topic/$aws/'*) ;;
    *':topic/*'*) reserved="\"arn:$partition:iot:$region:$account:topic/\$aws/*\"" ;;
    esac
    alias_resource=
    [ -z "$table" ] || alias_resource="\"arn:$partition:iot:$region:$account:rolealias/$alias\""
    sep=
    {
        printf '{"Version":"2012-10-17","Statement":['
        statement iot:Connect "$clients"
        statement iot:Publish "$publish"
        statement iot:RetainPublish "$retain"
        statement iot:Subscribe "$subscribe"
        statement iot:Receive "$receive"
        statement iot:AssumeRoleWithCertificate "$alias_resource"
        [ -z "$reserved" ] || printf ',{"Effect":"Deny","Action":["iot:Publish","iot:Receive"],"Resource":[%s]}' "$reserved"
        printf ']}'
    } >"$work/policy.json"
    size=$(wc -c <"$work/policy.json")
    [ "$size" -le 2048 ] || die "the policy would have $size bytes, AWS takes 2048: use fewer or wider --topic lines"
}
