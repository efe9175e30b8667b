package ingress

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// check says whether every name in an Ingress is one that NGINX takes for text. An API server checks names too, but
// what gets into a configuration file is ours to answer for.
func check(ing *networkingv1.Ingress) error {
	if errs := validation.IsDNS1123Label(ing.Namespace); len(errs) > 0 {
		return fmt.Errorf("check namespace %q: %s", ing.Namespace, errs[0])
	}
	if errs := validation.IsDNS1123Subdomain(ing.Name); len(errs) > 0 {
		return fmt.Errorf("check name %q: %s", ing.Name, errs[0])
	}
	if ing.Spec.DefaultBackend != nil {
		if err := checkBackend(ing.Spec.DefaultBackend); err != nil {
			return err
		}
	}
	for _, rule := range ing.Spec.Rules {
		if err := checkHost(rule.Host); err != nil {
			return err
		}
		if rule.HTTP == nil {
			continue
		}
		for i := range rule.HTTP.Paths {
			if err := checkPath(&rule.HTTP.Paths[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkHost(name string) error {
	var errs []string
	switch {
	case name == "":
	case strings.HasPrefix(name, "*"):
		errs = validation.IsWildcardDNS1123Subdomain(name)
	default:
		errs = validation.IsDNS1123Subdomain(name)
	}
	if len(errs) > 0 {
		return fmt.Errorf("check host %q: %s", name, errs[0])
	}
	return nil
}

// checkPath is as narrow as the strict path check of ingress-nginx, and a little wider in characters that mean nothing
// to NGINX.
func checkPath(p *networkingv1.HTTPIngressPath) error {
	if p.Path != "" && (p.Path[0] != '/' || strings.Trim(p.Path, letters+"/-_.~:@+,=") != "") {
		return fmt.Errorf("check path %q: want / and then letters, digits and /-_.~:@+,=", p.Path)
	}
	switch pathType(p) {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific:
		return checkBackend(&p.Backend)
	}
	return fmt.Errorf("check path %q: there is no path type %q", p.Path, *p.PathType)
}

func checkBackend(b *networkingv1.IngressBackend) error {
	if b.Service == nil {
		return fmt.Errorf("check backend: it is not a service")
	}
	if errs := validation.IsDNS1123Label(b.Service.Name); len(errs) > 0 {
		return fmt.Errorf("check service %q: %s", b.Service.Name, errs[0])
	}
	if b.Service.Port.Number == 0 {
		if errs := validation.IsValidPortName(b.Service.Port.Name); len(errs) > 0 {
			return fmt.Errorf("check port %q of service %s: %s", b.Service.Port.Name, b.Service.Name, errs[0])
		}
	}
	return nil
}

func pathType(p *networkingv1.HTTPIngressPath) networkingv1.PathType {
	if p.PathType == nil {
		return networkingv1.PathTypeImplementationSpecific
	}
	return *p.PathType
}
