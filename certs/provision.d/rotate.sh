# shellcheck shell=sh
# Part of certs/provision: --rotate, a new certificate in place of the old one, which is back in use if the new one does not work.

# retire ARN: out of use for ever
retire() {
    delete iot update-certificate --certificate-id "${1##*/}" --new-status INACTIVE
    delete iot detach-thing-principal --thing-name "$name" --principal "$1"
    delete iot detach-policy --policy-name "$policy" --target "$1"
    delete iot delete-certificate --certificate-id "${1##*/}"
}

prove() {
    "$here/check" --only identity "$dir/$name.conf"
}

put_back() {
    for end in key crt arn; do
        mv -f "$work/old.$end" "$dir/$name.$end"
    done
    sh -c "$reload" || true
    retire "$new"
    die "the new certificate does not work (see above); the old one is in use again"
}

rotate() {
    who_am_i
    [ -f "$dir/$name.conf" ] || die "$dir/$name.conf is not there: run certs/provision without --rotate first"
    look iot get-policy --policy-name "$policy" --query policyName || die "$name is not provisioned in $account, $region"
    old=$(cat "$dir/$name.arn" 2>/dev/null || true)
    new_certificate
    new=$arn
    attach
    [ -z "$dry" ] || {
        echo "would: replace $dir/$name.key and .crt, then: $reload" >&2
        [ -z "$old" ] || retire "$old"
        return
    }
    for end in key crt arn; do
        [ ! -f "$dir/$name.$end" ] || cp -p "$dir/$name.$end" "$work/old.$end"
    done
    place_certificate
    if ! sh -c "$reload"; then
        [ -z "$old" ] || put_back
        die "'$reload' failed: give the command that makes mosquitto read its certificates again with --reload"
    fi
    prove || { [ -z "$old" ] || put_back; }
    [ -z "$old" ] || retire "$old"
    say "$name has a new certificate; the old one is deleted"
}
