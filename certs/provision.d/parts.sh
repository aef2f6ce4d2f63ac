# shellcheck shell=sh
# Part of certs/provision: what a gateway has in AWS, one function a part. Each looks first, then makes what is missing or corrects
# what differs.

who_am_i() {
    caller=
    [ -n "$region" ] || region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
    [ -n "$region" ] || region=$(aws configure get region ${profile:+--profile "$profile"} 2>/dev/null || true)
    [ -n "$region" ] || die "which region? --region, AWS_REGION or aws configure"
    look sts get-caller-identity --query '[Account,Arn]'
    account=$(answer | cut -f1)
    caller=$(answer | cut -f2)
    partition=$(echo "$caller" | cut -d: -f2)
}

endpoints() {
    look iot describe-endpoint --endpoint-type iot:Data-ATS --query endpointAddress
    iot_endpoint=$(answer)
    [ -z "$table" ] || look iot describe-endpoint --endpoint-type iot:CredentialProvider --query endpointAddress
    [ -z "$table" ] || credentials_endpoint=$(answer)
}

thing() {
    look iot describe-thing --thing-name "$name" --query thingName && return
    change iot create-thing --thing-name "$name"
}

# A new key and its certificate: $work/new.key, new.crt, new.arn
new_certificate() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/new.key" 2>"$work/error" ||
        die "no key: $(cat "$work/error")"
    openssl req -new -sha256 -key "$work/new.key" -subj "/CN=$name" -out "$work/new.csr" 2>"$work/error" ||
        die "no request: $(cat "$work/error")"
    change iot create-certificate-from-csr --certificate-signing-request "file://$work/new.csr" --set-as-active \
        --certificate-pem-outfile "$work/new.crt" --query certificateArn
    [ -z "$dry" ] || {
        arn="arn:$partition:iot:$region:$account:cert/NEW"
        return
    }
    answer >"$work/new.arn"
    arn=$(cat "$work/new.arn")
}

# place FILE TARGET MODE: complete or not at all
place() {
    chmod "$3" "$1"
    [ -z "$owner" ] || chown "$owner" "$1" || die "cannot give $2 to $owner: run as root, or give --owner \"\""
    mv -f "$1" "$2"
}

place_certificate() {
    [ -z "$dry" ] || return 0
    place "$work/new.key" "$dir/$name.key" 600
    place "$work/new.crt" "$dir/$name.crt" 644
    place "$work/new.arn" "$dir/$name.arn" 644
}

certificate() {
    if [ -f "$dir/$name.arn" ]; then
        arn=$(cat "$dir/$name.arn")
        case $arn in
        arn:*:iot:"$region":"$account":cert/*) ;;
        *) die "$dir/$name.arn is of another account or region ($arn), you are in $account, $region: give the right --region" ;;
        esac
        if [ ! -f "$dir/$name.key" ] || [ ! -f "$dir/$name.crt" ]; then
            die "$dir/$name.key or .crt is gone: --rotate makes new ones"
        fi
        look iot describe-certificate --certificate-id "${arn##*/}" --query certificateDescription.status ||
            die "the certificate in $dir/$name.crt does not exist in AWS any more: --rotate makes a new one"
        [ "$(answer)" = ACTIVE ] ||
            die "the certificate in $dir/$name.crt is $(answer) in AWS: activate it in the console, or --rotate"
        return
    fi
    if [ -e "$dir/$name.key" ]; then die "$dir/$name.key is not of this program: move it away, or choose another -d"; fi
    if [ -z "$adopt" ] && look iot list-thing-principals --thing-name "$name" --query 'principals[]' && [ -n "$(answer)" ]; then
        die "thing $name has a certificate already ($(answer)) and its key is not in $dir: is it another gateway's? --adopt adds one"
    fi
    new_certificate
    place_certificate
}

same_json() {
    [ "$(tr -d ' \n\t' <"$1")" = "$(tr -d ' \n\t' <"$work/answer")" ]
}

policy() {
    if ! look iot get-policy --policy-name "$policy" --query policyDocument; then
        change iot create-policy --policy-name "$policy" --policy-document "file://$work/policy.json"
    elif ! same_json "$work/policy.json"; then
        # AWS keeps five versions.
        look iot list-policy-versions --policy-name "$policy" --query 'policyVersions[?!isDefaultVersion].versionId'
        for version in $(answer); do
            delete iot delete-policy-version --policy-name "$policy" --policy-version-id "$version"
        done
        change iot create-policy-version --policy-name "$policy" --policy-document "file://$work/policy.json" --set-as-default
    fi
}

# listed WORD: is it one of the words of the answer?
listed() {
    tr '\t' '\n' <"$work/answer" | grep -qxF "$1"
}

attach() {
    look iot list-attached-policies --target "$arn" --query 'policies[].policyName' || true
    listed "$policy" || change iot attach-policy --policy-name "$policy" --target "$arn"
    look iot list-thing-principals --thing-name "$name" --query 'principals[]' || true
    listed "$arn" || change iot attach-thing-principal --thing-name "$name" --principal "$arn"
}

role() {
    [ -n "$table" ] || return 0
    printf '%s' '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},' \
        '"Action":"sts:AssumeRole"}]}' >"$work/trust.json"
    actions='"dynamodb:BatchWriteItem"'
    [ -z "$dashboard" ] || actions="$actions,\"dynamodb:Query\",\"dynamodb:Scan\""
    printf '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[%s],"Resource":["%s"]}]}' "$actions" \
        "arn:$partition:dynamodb:$region:$account:table/$table" >"$work/rights.json"
    role_arn="arn:$partition:iam::$account:role/$role"
    look iam get-role --role-name "$role" --query Role.Arn ||
        change iam create-role --role-name "$role" --assume-role-policy-document "file://$work/trust.json" \
            --description "mosquitto-aws gateway $name writes measurements"
    look iam get-role-policy --role-name "$role" --policy-name measurements --query 'to_string(PolicyDocument)' || true
    same_json "$work/rights.json" ||
        change iam put-role-policy --role-name "$role" --policy-name measurements --policy-document "file://$work/rights.json"
    if ! look iot describe-role-alias --role-alias "$alias" --query roleAliasDescription.roleArn; then
        change_soon iot create-role-alias --role-alias "$alias" --role-arn "$role_arn" --credential-duration-seconds 3600
    elif [ "$(answer)" != "$role_arn" ]; then
        die "role alias $alias exists and is for $(answer): choose another --role-alias"
    fi
}

table() {
    [ -n "$table" ] || return 0
    if ! look dynamodb describe-table --table-name "$table" \
        --query "Table.[KeySchema[0].AttributeName,KeySchema[1].AttributeName,AttributeDefinitions[?AttributeType=='S']|length(@)]"; then
        change dynamodb create-table --table-name "$table" --billing-mode PAY_PER_REQUEST \
            --attribute-definitions AttributeName=sensor,AttributeType=S AttributeName=timestamp,AttributeType=S \
            --key-schema AttributeName=sensor,KeyType=HASH AttributeName=timestamp,KeyType=RANGE
        [ -n "$dry" ] || look dynamodb wait table-exists --table-name "$table"
    elif ! answer | grep -q '^sensor.timestamp.[2-9]'; then
        die "table $table exists with another key ($(answer | tr '\t' ' ')): choose another --table, or set dynamodb_sensor_key ... by hand"
    fi
    [ -n "$ttl" ] || return 0
    if look dynamodb describe-time-to-live --table-name "$table" --query TimeToLiveDescription.TimeToLiveStatus; then
        case $(answer) in ENABL*) return 0 ;; esac
    fi
    change dynamodb update-time-to-live --table-name "$table" --time-to-live-specification Enabled=true,AttributeName=ttl
}

write_conf() {
    {
        echo "# Written by certs/provision for gateway $name. In mosquitto.conf, behind the line \"plugin ...\": plugin_opt_config_file $dir/$name.conf"
        sed '/^$/d; s/^/topic /' "$work/topics"
        sed '/^$/d; s/^/store /' "$work/stores"
        echo "iot_endpoint $iot_endpoint"
        echo "iot_client_id $name"
        [ "$connections" -eq 1 ] || echo "iot_connections $connections"
        echo "iot_certfile $dir/$name.crt"
        echo "iot_keyfile $dir/$name.key"
        [ -z "$cafile" ] || echo "iot_cafile $cafile"
        if [ -n "$table" ]; then
            echo "aws_region $region"
            echo "aws_role_alias $alias"
            echo "aws_credentials_endpoint $credentials_endpoint"
            echo "dynamodb_table $table"
            [ -z "$ttl" ] || echo "dynamodb_ttl $ttl"
        fi
    } >"$work/conf"
    if cmp -s "$work/conf" "$dir/$name.conf"; then return; fi
    changes=$((changes + 1))
    [ -z "$dry" ] || {
        { echo "would: write $dir/$name.conf" && sed 's/^/    /' "$work/conf"; } >&2
        return
    }
    place "$work/conf" "$dir/$name.conf" 644
    say "$dir/$name.conf"
}
