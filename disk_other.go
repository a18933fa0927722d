//go:build !unix

package changeling

import "errors"

func diskUsed(string) (float64, error) { return 0, errors.ErrUnsupported }
