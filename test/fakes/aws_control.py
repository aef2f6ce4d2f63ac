"""The part of AWS's control plane that certs/provision talks to, for tests: IoT, IAM and STS of our own, DynamoDB by dynalite
(time to live is ours: dynalite has none to set). One HTTP server; the service is told by the credential scope of the signature.

    control = Control(ca_cert, ca_key, dynalite_port, iot_endpoint="localhost:8883", credentials_endpoint="localhost:8443")
    MQA_AWS_ENDPOINT=control.url certs/provision ...
    control.calls        [("iot", "CreateThing", {...}), ...]: everything asked for, in order
    control.changes()    the names of those calls that change something
    control.fail["iot:CreateThing"] = (403, "AccessDeniedException")    this call answers so; (status, code, times) so often
"""
import hashlib
import http.client
import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACCOUNT, REGION = "123456789012", "eu-central-1"
CALLER = f"arn:aws:iam::{ACCOUNT}:user/tester"
READS = ("Get", "Describe", "List")

# method, path pattern (groups are parameters), operation
IOT = [(method, re.compile(pattern + "$"), operation) for method, pattern, operation in [
    ("GET", "/endpoint", "DescribeEndpoint"),
    ("GET", "/things/(?P<thing>[^/]+)/principals", "ListThingPrincipals"),
    ("PUT", "/things/(?P<thing>[^/]+)/principals", "AttachThingPrincipal"),
    ("DELETE", "/things/(?P<thing>[^/]+)/principals", "DetachThingPrincipal"),
    ("GET", "/things/(?P<thing>[^/]+)", "DescribeThing"),
    ("POST", "/things/(?P<thing>[^/]+)", "CreateThing"),
    ("DELETE", "/things/(?P<thing>[^/]+)", "DeleteThing"),
    ("POST", "/certificates", "CreateCertificateFromCsr"),
    ("GET", "/certificates/(?P<certificate>[^/]+)", "DescribeCertificate"),
    ("PUT", "/certificates/(?P<certificate>[^/]+)", "UpdateCertificate"),
    ("DELETE", "/certificates/(?P<certificate>[^/]+)", "DeleteCertificate"),
    ("GET", "/policies/(?P<policy>[^/]+)/version", "ListPolicyVersions"),
    ("POST", "/policies/(?P<policy>[^/]+)/version", "CreatePolicyVersion"),
    ("DELETE", "/policies/(?P<policy>[^/]+)/version/(?P<version>[^/]+)", "DeletePolicyVersion"),
    ("GET", "/policies/(?P<policy>[^/]+)", "GetPolicy"),
    ("POST", "/policies/(?P<policy>[^/]+)", "CreatePolicy"),
    ("DELETE", "/policies/(?P<policy>[^/]+)", "DeletePolicy"),
    ("PUT", "/target-policies/(?P<policy>[^/]+)", "AttachPolicy"),
    ("POST", "/target-policies/(?P<policy>[^/]+)", "DetachPolicy"),
    ("POST", "/attached-policies/(?P<target>.+)", "ListAttachedPolicies"),
    ("GET", "/role-aliases/(?P<alias>[^/]+)", "DescribeRoleAlias"),
    ("POST", "/role-aliases/(?P<alias>[^/]+)", "CreateRoleAlias"),
    ("DELETE", "/role-aliases/(?P<alias>[^/]+)", "DeleteRoleAlias"),
]]


class Refused(Exception):
    def __init__(self, status, code, text=""):
        super().__init__(code)
        self.status, self.code, self.text = status, code, text or f"{code} of the stand-in"


def gone():
    return Refused(404, "ResourceNotFoundException")


def need(table, key, error=gone):
    if key not in table:
        raise error()
    return table[key]


class Account:
    """What exists, and what the operations do to it. An operation is the method of its name; it takes the call's parameters."""

    def __init__(self, ca_cert, ca_key, iot_endpoint, credentials_endpoint):
        self.ca_cert, self.ca_key = ca_cert, ca_key
        self.endpoints = {"iot:Data-ATS": iot_endpoint, "iot:CredentialProvider": credentials_endpoint}
        self.things = {}        # name -> [principals]
        self.certificates = {}  # id -> status
        self.policies = {}      # name -> {version: document}, the last one is the default
        self.attached = {}      # target -> [policy names]
        self.aliases = {}       # name -> role ARN
        self.roles = {}         # name -> {"trust": .., "policies": {name: document}}
        self.ttl = {}           # table -> attribute

    def find_certificate(self, arn):
        return need(self.certificates, arn.split("/")[-1])

    # -- IoT

    def DescribeEndpoint(self, p):
        return {"endpointAddress": self.endpoints[p["endpointType"]]}

    def DescribeThing(self, p):
        need(self.things, p["thing"])
        return {"thingName": p["thing"], "version": 1}

    def CreateThing(self, p):
        self.things.setdefault(p["thing"], [])
        return {"thingName": p["thing"]}

    def DeleteThing(self, p):
        if need(self.things, p["thing"]):
            raise Refused(400, "InvalidRequestException", "principals are attached")
        del self.things[p["thing"]]
        return {}

    def ListThingPrincipals(self, p):
        return {"principals": need(self.things, p["thing"])}

    def AttachThingPrincipal(self, p):
        self.find_certificate(p["principal"])
        need(self.things, p["thing"]).append(p["principal"])
        return {}

    def DetachThingPrincipal(self, p):
        principals = need(self.things, p["thing"])
        if p["principal"] not in principals:
            raise gone()
        principals.remove(p["principal"])
        return {}

    def CreateCertificateFromCsr(self, p):
        pem, certificate = self.sign(p["certificateSigningRequest"])
        self.certificates[certificate] = "ACTIVE" if p.get("setAsActive") == "true" else "INACTIVE"
        arn = f"arn:aws:iot:{REGION}:{ACCOUNT}:cert/{certificate}"
        return {"certificateArn": arn, "certificateId": certificate, "certificatePem": pem}

    def sign(self, csr):
        import datetime

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        request = x509.load_pem_x509_csr(csr.encode())
        if not request.is_signature_valid:
            raise Refused(400, "InvalidRequestException")
        issuer = x509.load_pem_x509_certificate(self.ca_cert.read_bytes())
        key = serialization.load_pem_private_key(self.ca_key.read_bytes(), None)
        now = datetime.datetime.now(datetime.timezone.utc)
        signed = (x509.CertificateBuilder().subject_name(request.subject).issuer_name(issuer.subject)
                  .public_key(request.public_key()).serial_number(x509.random_serial_number())
                  .not_valid_before(now - datetime.timedelta(minutes=1)).not_valid_after(now + datetime.timedelta(days=365))
                  .sign(key, hashes.SHA256()))
        der = signed.public_bytes(serialization.Encoding.DER)
        return signed.public_bytes(serialization.Encoding.PEM).decode(), hashlib.sha256(der).hexdigest()

    def DescribeCertificate(self, p):
        return {"certificateDescription": {"certificateId": p["certificate"], "status": self.find_certificate(p["certificate"])}}

    def UpdateCertificate(self, p):
        self.find_certificate(p["certificate"])
        self.certificates[p["certificate"]] = p["newStatus"]
        return {}

    def DeleteCertificate(self, p):
        arn = f"arn:aws:iot:{REGION}:{ACCOUNT}:cert/{p['certificate']}"
        if self.find_certificate(arn) == "ACTIVE":
            raise Refused(406, "CertificateStateException")
        if self.attached.get(arn) or any(arn in principals for principals in self.things.values()):
            raise Refused(409, "DeleteConflictException")
        del self.certificates[p["certificate"]]
        return {}

    def GetPolicy(self, p):
        versions = need(self.policies, p["policy"])
        return {"policyName": p["policy"], "policyDocument": versions[max(versions)], "defaultVersionId": str(max(versions))}

    def CreatePolicy(self, p):
        if p["policy"] in self.policies:
            raise Refused(409, "ResourceAlreadyExistsException")
        self.policies[p["policy"]] = {1: self.checked_policy(p["policyDocument"])}
        return {"policyName": p["policy"]}

    def checked_policy(self, text):
        if len(text) > 2048:
            raise Refused(400, "MalformedPolicyException")
        json.loads(text)
        return text

    def ListPolicyVersions(self, p):
        versions = need(self.policies, p["policy"])
        return {"policyVersions": [{"versionId": str(v), "isDefaultVersion": v == max(versions)} for v in versions]}

    def CreatePolicyVersion(self, p):
        versions = need(self.policies, p["policy"])
        if len(versions) >= 5:
            raise Refused(409, "VersionsLimitExceededException")
        versions[max(versions) + 1] = self.checked_policy(p["policyDocument"])
        return {"policyVersionId": str(max(versions))}

    def DeletePolicyVersion(self, p):
        del need(self.policies, p["policy"])[int(p["version"])]
        return {}

    def DeletePolicy(self, p):
        if len(need(self.policies, p["policy"])) > 1 or any(p["policy"] in names for names in self.attached.values()):
            raise Refused(409, "DeleteConflictException")
        del self.policies[p["policy"]]
        return {}

    def AttachPolicy(self, p):
        need(self.policies, p["policy"])
        self.find_certificate(p["target"])
        self.attached.setdefault(p["target"], []).append(p["policy"])
        return {}

    def DetachPolicy(self, p):
        if p["policy"] in self.attached.get(p["target"], []):
            self.attached[p["target"]].remove(p["policy"])
        return {}

    def ListAttachedPolicies(self, p):
        return {"policies": [{"policyName": name} for name in self.attached.get(p["target"], [])]}

    def DescribeRoleAlias(self, p):
        return {"roleAliasDescription": {"roleAlias": p["alias"], "roleArn": need(self.aliases, p["alias"])}}

    def CreateRoleAlias(self, p):
        if p["roleArn"].split("/")[-1] not in self.roles:
            raise Refused(400, "InvalidRequestException")
        self.aliases[p["alias"]] = p["roleArn"]
        return {"roleAlias": p["alias"]}

    def DeleteRoleAlias(self, p):
        need(self.aliases, p["alias"])
        del self.aliases[p["alias"]]
        return {}

    # -- IAM and STS: members of the answer's XML

    def find_role(self, p):
        return need(self.roles, p["RoleName"], lambda: Refused(404, "NoSuchEntity"))

    def GetCallerIdentity(self, p):
        return f"<Arn>{CALLER}</Arn><UserId>AIDA</UserId><Account>{ACCOUNT}</Account>"

    def role_xml(self, name):
        return (f"<Role><Path>/</Path><RoleName>{name}</RoleName><RoleId>AROA</RoleId>"
                f"<Arn>arn:aws:iam::{ACCOUNT}:role/{name}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></Role>")

    def GetRole(self, p):
        self.find_role(p)
        return self.role_xml(p["RoleName"])

    def CreateRole(self, p):
        self.roles[p["RoleName"]] = {"trust": json.loads(p["AssumeRolePolicyDocument"]), "policies": {}}
        return self.role_xml(p["RoleName"])

    def DeleteRole(self, p):
        if self.find_role(p)["policies"]:
            raise Refused(409, "DeleteConflict")
        del self.roles[p["RoleName"]]
        return ""

    def GetRolePolicy(self, p):
        text = need(self.find_role(p)["policies"], p["PolicyName"], lambda: Refused(404, "NoSuchEntity"))
        return (f"<RoleName>{p['RoleName']}</RoleName><PolicyName>{p['PolicyName']}</PolicyName>"
                f"<PolicyDocument>{urllib.parse.quote(text)}</PolicyDocument>")

    def PutRolePolicy(self, p):
        json.loads(p["PolicyDocument"])
        self.find_role(p)["policies"][p["PolicyName"]] = p["PolicyDocument"]
        return ""

    def DeleteRolePolicy(self, p):
        need(self.find_role(p)["policies"], p["PolicyName"], lambda: Refused(404, "NoSuchEntity"))
        del self.roles[p["RoleName"]]["policies"][p["PolicyName"]]
        return ""

    # -- DynamoDB, what dynalite does not have

    def DescribeTimeToLive(self, p):
        if p["TableName"] not in self.ttl:
            return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": self.ttl[p["TableName"]]}}

    def UpdateTimeToLive(self, p):
        self.ttl[p["TableName"]] = p["TimeToLiveSpecification"]["AttributeName"]
        return {"TimeToLiveSpecification": p["TimeToLiveSpecification"]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    control = None

    def log_message(self, *args):
        pass

    def answer(self, status, data, content_type, **headers):
        self.send_response_only(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request", self.headers.get("Authorization", ""))
        if not scope:
            self.answer(403, b"unsigned", "text/plain")
            return
        service = {"execute-api": "iot"}.get(scope[2], scope[2])
        getattr(self, f"{service}_call")(body)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def iot_call(self, body):
        url = urllib.parse.urlsplit(self.path)
        for method, pattern, operation in IOT:
            match = pattern.match(urllib.parse.unquote(url.path))
            if match and method == self.command:
                break
        else:
            self.answer(404, b"{}", "application/json", x_amzn_ErrorType="UnknownOperationException")
            return
        parameters = {**match.groupdict(), **dict(urllib.parse.parse_qsl(url.query)), **(json.loads(body) if body else {})}
        if self.headers.get("x-amzn-principal"):
            parameters["principal"] = self.headers["x-amzn-principal"]
        try:
            answer = self.control.perform("iot", operation, parameters)
            self.answer(200, json.dumps(answer).encode(), "application/json")
        except Refused as e:
            self.answer(e.status, json.dumps({"message": e.text}).encode(), "application/json", x_amzn_ErrorType=e.code)

    def query_call(self, service, body):
        parameters = dict(urllib.parse.parse_qsl(body.decode()))
        operation = parameters["Action"]
        try:
            result = self.control.perform(service, operation, parameters)
            xml = f"<{operation}Response><{operation}Result>{result}</{operation}Result></{operation}Response>"
            self.answer(200, xml.encode(), "text/xml")
        except Refused as e:
            xml = f"<ErrorResponse><Error><Type>Sender</Type><Code>{e.code}</Code><Message>{e.text}</Message></Error></ErrorResponse>"
            self.answer(e.status, xml.encode(), "text/xml")

    def iam_call(self, body):
        self.query_call("iam", body)

    def sts_call(self, body):
        self.query_call("sts", body)

    def dynamodb_call(self, body):
        operation = self.headers["X-Amz-Target"].split(".")[-1]
        try:
            answer = self.control.perform("dynamodb", operation, json.loads(body))
            data, status = json.dumps(answer).encode(), 200
            if answer is None:
                status, data = self.forward(body)
        except Refused as e:
            status, data = e.status, json.dumps({"__type": f"com.amazonaws.dynamodb#{e.code}", "message": e.text}).encode()
        self.answer(status, data, "application/x-amz-json-1.0")

    def forward(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.control.dynalite, timeout=30)
        connection.request("POST", "/", body, {k: v for k, v in self.headers.items() if k.lower() != "connection"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data


class Control:
    def __init__(self, ca_cert, ca_key, dynalite, iot_endpoint, credentials_endpoint):
        self.account = Account(ca_cert, ca_key, iot_endpoint, credentials_endpoint)
        self.dynalite = dynalite
        self.calls = []
        self.fail = {}
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("ControlHandler", (Handler,), {"control": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def perform(self, service, operation, parameters):
        """The answer; None = dynalite's."""
        with self.lock:
            self.calls.append((service, operation, parameters))
            self.maybe_fail(f"{service}:{operation}")
            method = getattr(self.account, operation, None)
            if method:
                return method(parameters)
            if service != "dynamodb":
                raise Refused(400, "InvalidAction")
            return None

    def maybe_fail(self, call):
        status, code, *times = self.fail.get(call, (None, None))
        if status is None:
            return
        if times and times[0] <= 1:
            del self.fail[call]
        elif times:
            self.fail[call] = (status, code, times[0] - 1)
        raise Refused(status, code)

    def changes(self):
        return [f"{service}:{operation}" for service, operation, _ in self.calls if not operation.startswith(READS)]

    def of(self, operation):
        """Parameters of every call of this operation."""
        return [parameters for _, name, parameters in self.calls if name == operation]

    def forget(self):
        self.calls.clear()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
