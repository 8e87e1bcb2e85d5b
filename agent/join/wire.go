// Package join is how a node gets its certificates: it proves to a master which instance it is, and the master signs.
//
// The proof is a presigned STS GetCallerIdentity, as in aws-iam-authenticator and kOps' AWS verifier, whose signed headers
// bind the request's body, the cluster and a nonce of the master's own choice. The master has the regional STS of its own
// partition say whose signature it is, and asks EC2 whether that instance runs, belongs to the cluster, and has the
// address that the request came from. Nobody needs a shared secret.
//
//	node                                   master :3988 (TLS; its certificate is the cluster's, for ServerName(cluster))
//	GET  /v1/nonce                      -> Challenge
//	POST /v1/join  Body, Proof header   -> Certificates, or Refusal
package join

import "time"

// The paths and headers of the protocol.
const (
	NoncePath = "/v1/nonce"
	JoinPath  = "/v1/join"

	// ProofHeader carries the presigned URL.
	ProofHeader = "X-Rekindle-Proof"

	// The headers that the presigned request signs besides Host. The master computes their values itself from what it
	// received, and sends them to STS: a signature over other values is refused there.
	BodyHeader    = "X-Rekindle-Body-Sha256" // of the body, hexadecimal
	ClusterHeader = "X-Rekindle-Cluster"
	NonceHeader   = "X-Rekindle-Nonce"
)

// MaxBody bounds a request's body, and MaxProof its proof, in bytes.
const (
	MaxBody  = 64 << 10
	MaxProof = 8 << 10
)

// Protocol is the version of the wire format that this agent speaks.
const Protocol = 1

// ServerName is the name for which a master's join server has its certificate, whatever address it is reached at.
func ServerName(cluster string) string { return "join.internal." + cluster }

// Challenge is what a master answers to a GET of NoncePath. The nonce counts once, at this master, until it expires.
type Challenge struct {
	Version int       `json:"version"`
	Nonce   string    `json:"nonce"`
	Time    time.Time `json:"time"` // the master's clock: the node signs at this time, whatever its own clock says
}

// Body is what a node asks for.
type Body struct {
	Version  int       `json:"version"`
	Cluster  string    `json:"cluster"`
	Instance string    `json:"instance"` // i-0123456789abcdef0
	Node     string    `json:"node"`     // the Kubernetes node name that it uses
	Nonce    string    `json:"nonce"`
	Requests []Request `json:"requests"`
}

// Request is one certificate.
type Request struct {
	Name string `json:"name"` // KubeletClient, KubeletServing or KubeProxy
	CSR  []byte `json:"csr"`  // PKCS #10, DER (JSON writes base64)
}

// What can be asked for.
const (
	KubeletClient  = "kubelet-client"
	KubeletServing = "kubelet-serving"
	KubeProxy      = "kube-proxy"
)

// Certificates is the answer: DER, in the order of the requests.
type Certificates struct {
	Version      int      `json:"version"`
	Certificates [][]byte `json:"certificates"`
}

// Refusal is the answer to a request that was not granted.
type Refusal struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"` // for people; it holds nothing that the node did not send
}

// Reason is why a master refused. It is a label of the metric rekindle_join_requests_total and a key of its log.
type Reason string

// The reasons, and the HTTP status of each. Nodes try again after any of them, later after those below 500.
const (
	Granted          Reason = "Granted"          // 200
	Malformed        Reason = "Malformed"        // 400: not this protocol
	UnknownRequest   Reason = "UnknownRequest"   // 400: a certificate that nobody can ask for
	BadCSR           Reason = "BadCSR"           // 400: not a CSR, a weak key, or signed by another key
	WrongSubject     Reason = "WrongSubject"     // 403: the CSR wants a name or address that is not the instance's
	ForeignCluster   Reason = "ForeignCluster"   // 403
	BadNonce         Reason = "BadNonce"         // 403: never given out here, or expired
	Replayed         Reason = "Replayed"         // 403: a nonce used before
	WrongHost        Reason = "WrongHost"        // 403: the presigned URL is not that of this region's STS
	Redirected       Reason = "Redirected"       // 403: STS, or who plays it, sent elsewhere
	BadProof         Reason = "BadProof"         // 403: not a presigned GetCallerIdentity with the headers that must be signed
	Late             Reason = "Late"             // 403: signed too long ago, or in the future
	Altered          Reason = "Altered"          // 403: STS says that the signature is not one over this request
	ForeignPartition Reason = "ForeignPartition" // 403
	ForeignAccount   Reason = "ForeignAccount"   // 403
	WrongRole        Reason = "WrongRole"        // 403: not an IAM role of join.iamRoles
	NotAnInstance    Reason = "NotAnInstance"    // 403: the session is not an instance's, or another's
	UnknownInstance  Reason = "UnknownInstance"  // 403: EC2 does not know it (yet)
	NotRunning       Reason = "NotRunning"       // 403
	UntaggedCluster  Reason = "UntaggedCluster"  // 403: its tags name no cluster (yet), or another one
	UntaggedRole     Reason = "UntaggedRole"     // 403: its tags name no role of join.roles
	WrongAddress     Reason = "WrongAddress"     // 403: it does not come from an address of the instance
	Busy             Reason = "Busy"             // 429 with Retry-After: too many at once, or too often from this address
	Unavailable      Reason = "Unavailable"      // 503 with Retry-After: STS, EC2 or the authority cannot be reached
)

// Reasons are all of them, in the order above.
func Reasons() []string {
	var all []string
	for _, r := range []Reason{
		Granted, Malformed, UnknownRequest, BadCSR, WrongSubject, ForeignCluster, BadNonce, Replayed, WrongHost, Redirected, BadProof,
		Late, Altered, ForeignPartition, ForeignAccount, WrongRole, NotAnInstance, UnknownInstance, NotRunning, UntaggedCluster,
		UntaggedRole, WrongAddress, Busy, Unavailable,
	} {
		all = append(all, string(r))
	}
	return all
}
