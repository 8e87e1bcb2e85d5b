package cloud

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
)

// protocol is how one family of services puts replies and errors on the wire.
type protocol interface {
	reply(c *call, out any) ([]byte, error)
	fail(c *call, e *Error) ([]byte, error)
	contentType() string
}

// ec2Query is EC2's own variant of the query protocol: the reply's fields stand beside the request id.
type ec2Query struct{}

func (ec2Query) contentType() string { return "text/xml;charset=UTF-8" }

func (ec2Query) reply(c *call, out any) ([]byte, error) {
	fields, err := encodeXML("_", "", out)
	if err != nil {
		return nil, err
	}
	fields = bytes.TrimSuffix(bytes.TrimPrefix(fields, []byte("<_>")), []byte("</_>"))
	return encodeXML(c.action+"Response", "http://ec2.amazonaws.com/doc/2016-11-15/", struct {
		RequestID string `xml:"requestId"`
		Fields    []byte `xml:",innerxml"`
	}{c.requestID, fields})
}

func (ec2Query) fail(c *call, e *Error) ([]byte, error) {
	return encodeXML("Response", "", struct {
		Code      string `xml:"Errors>Error>Code"`
		Message   string `xml:"Errors>Error>Message"`
		RequestID string
	}{e.Code, e.Message, c.requestID})
}

// awsQuery is the query protocol of Auto Scaling and STS.
type awsQuery struct{ namespace string }

func (awsQuery) contentType() string { return "text/xml" }

func (q awsQuery) reply(c *call, out any) ([]byte, error) {
	result, err := encodeXML(c.action+"Result", "", out)
	if err != nil {
		return nil, err
	}
	return encodeXML(c.action+"Response", q.namespace, struct {
		Result    []byte `xml:",innerxml"`
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}{result, c.requestID})
}

func (q awsQuery) fail(c *call, e *Error) ([]byte, error) {
	return encodeXML("ErrorResponse", q.namespace, xmlError{side(e), e.Code, e.Message, c.requestID})
}

// xmlError is the body of an error of the query and REST-XML protocols.
type xmlError struct {
	Type      string `xml:"Error>Type"`
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}

func side(e *Error) string {
	if e.Status >= 500 {
		return "Receiver"
	}
	return "Sender"
}

// restXML is Route 53's protocol. InvalidChangeBatch has a shape of its own.
type restXML struct{ namespace string }

func (restXML) contentType() string { return "text/xml" }

func (x restXML) reply(c *call, out any) ([]byte, error) {
	return encodeXML(c.action+"Response", x.namespace, out)
}

func (x restXML) fail(c *call, e *Error) ([]byte, error) {
	if e.Code == "InvalidChangeBatch" {
		return encodeXML(e.Code, x.namespace, struct {
			Message   string `xml:"Messages>Message"`
			RequestID string `xml:"RequestId"`
		}{e.Message, c.requestID})
	}
	return encodeXML("ErrorResponse", x.namespace, xmlError{side(e), e.Code, e.Message, c.requestID})
}

// awsJSON is SSM's JSON 1.1.
type awsJSON struct{}

func (awsJSON) contentType() string { return "application/x-amz-json-1.1" }

func (awsJSON) reply(_ *call, out any) ([]byte, error) { return json.Marshal(out) }

func (awsJSON) fail(_ *call, e *Error) ([]byte, error) {
	return json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{e.Code, e.Message})
}

func encodeXML(name, namespace string, v any) ([]byte, error) {
	var b bytes.Buffer
	start := xml.StartElement{Name: xml.Name{Local: name}}
	if namespace != "" {
		start.Attr = []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}
	}
	if err := xml.NewEncoder(&b).EncodeElement(v, start); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// wantsJSON is true for clients of STS that ask for JSON, as aws-iam-authenticator's do.
func wantsJSON(r *http.Request) bool { return r.Header.Get("Accept") == "application/json" }
