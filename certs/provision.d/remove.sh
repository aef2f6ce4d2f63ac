# shellcheck shell=sh
# Part of certs/provision: --remove, all of it undone.

remove() {
    who_am_i
    arn=$(cat "$dir/$name.arn" 2>/dev/null || true)
    if [ -n "$arn" ] && look iot describe-certificate --certificate-id "${arn##*/}" --query certificateDescription.status; then
        retire "$arn"
    fi
    if look iot list-thing-principals --thing-name "$name" --query 'principals[]'; then
        [ -z "$(answer)" ] || [ "$(answer)" = "$arn" ] || die "thing $name still has other certificates, left alone: $(answer)"
        delete iot delete-thing --thing-name "$name"
    fi
    if look iot list-policy-versions --policy-name "$policy" --query 'policyVersions[?!isDefaultVersion].versionId'; then
        for version in $(answer); do
            delete iot delete-policy-version --policy-name "$policy" --policy-version-id "$version"
        done
        delete iot delete-policy --policy-name "$policy"
    fi
    role_arn="arn:$partition:iam::$account:role/$role"
    if look iot describe-role-alias --role-alias "$alias" --query roleAliasDescription.roleArn && [ "$(answer)" = "$role_arn" ]; then
        delete iot delete-role-alias --role-alias "$alias"
    fi
    if look iam get-role --role-name "$role" --query Role.Arn; then
        delete iam delete-role-policy --role-name "$role" --policy-name measurements
        delete iam delete-role --role-name "$role"
    fi
    if [ -n "$delete_table" ]; then
        [ -n "$table" ] || table=$(sed -n 's/^dynamodb_table //p' "$dir/$name.conf" 2>/dev/null || true)
        [ -n "$table" ] || die "--delete-table: which? give --table"
        ! look dynamodb describe-table --table-name "$table" --query Table.TableStatus ||
            delete dynamodb delete-table --table-name "$table"
    fi
    [ -n "$dry" ] || rm -f "$dir/$name.key" "$dir/$name.crt" "$dir/$name.arn" "$dir/$name.conf"
    if [ $changes -eq 0 ]; then say "$name: nothing to remove"; else say "$name is removed"; fi
}
