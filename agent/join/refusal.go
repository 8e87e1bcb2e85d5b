package join

import (
	"errors"
	"fmt"
	"net/http"
)

// answer is how a reason is put to the node.
type answer struct {
	status  int
	message string
}

// answers has every reason. The messages are fixed: what EC2 and STS said is for the master's log alone.
var answers = map[Reason]answer{
	Granted:          {http.StatusOK, ""},
	Malformed:        {http.StatusBadRequest, "the request is not of this protocol"},
	UnknownRequest:   {http.StatusBadRequest, "no such certificate can be asked for"},
	BadCSR:           {http.StatusBadRequest, "not a certificate request with a valid signature and a key that is strong enough"},
	WrongSubject:     {http.StatusForbidden, "a certificate request wants a name or an address that is not the instance's"},
	ForeignCluster:   {http.StatusForbidden, "this master is of another cluster"},
	BadNonce:         {http.StatusForbidden, "the nonce is not of this master, or has expired"},
	Replayed:         {http.StatusForbidden, "the nonce was used before"},
	WrongHost:        {http.StatusForbidden, "the proof is not for the STS endpoint that this master asks"},
	Redirected:       {http.StatusForbidden, "STS answered with a redirect"},
	BadProof:         {http.StatusForbidden, "the proof is not a presigned GetCallerIdentity with the headers that must be signed"},
	Late:             {http.StatusForbidden, "the proof or its credentials have expired, or it was signed in the future"},
	Altered:          {http.StatusForbidden, "the proof was not signed over this request"},
	ForeignPartition: {http.StatusForbidden, "the credentials are of another partition"},
	ForeignAccount:   {http.StatusForbidden, "the credentials are of another account"},
	WrongRole:        {http.StatusForbidden, "the credentials are not of an IAM role in join.iamRoles"},
	NotAnInstance:    {http.StatusForbidden, "the credentials are not those of the instance that the request names"},
	UnknownInstance:  {http.StatusForbidden, "EC2 does not know the instance"},
	NotRunning:       {http.StatusForbidden, "the instance is neither pending nor running"},
	UntaggedCluster:  {http.StatusForbidden, "the instance's tags do not name this cluster"},
	UntaggedRole:     {http.StatusForbidden, "the instance's tags do not name a role in join.roles"},
	WrongAddress:     {http.StatusForbidden, "the request does not come from an address of the instance"},
	Busy:             {http.StatusTooManyRequests, "too many requests"},
	Unavailable:      {http.StatusServiceUnavailable, "the master cannot reach STS, EC2 or its authority"},
}

// refusal is why a request is not granted. err is for the master's log; the node gets the reason's own words.
type refusal struct {
	reason Reason
	err    error
}

func (r *refusal) Error() string { return string(r.reason) + ": " + r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// refuse never takes a proof, or a part of one, among its arguments: the error is logged.
func refuse(reason Reason, format string, args ...any) error {
	return &refusal{reason, fmt.Errorf(format, args...)}
}

// reasonOf is the reason of an error, and what to log about it. One without a reason comes from whom the master asked.
func reasonOf(err error) (Reason, error) {
	if err == nil {
		return Granted, nil
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.reason, r.err
	}
	return Unavailable, err
}
