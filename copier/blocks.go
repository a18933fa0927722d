package copier

import (
	"context"
	"strconv"
)

// Blocks cuts a heap of a fixed number of blocks. A heap without blocks is one empty chunk.
func Blocks(total int64) Cut {
	return func(_ context.Context, after Key, n int64) (Key, bool, error) {
		upto := n - 1
		if after != nil {
			done, err := strconv.ParseInt(after[0], 10, 64)
			if err != nil {
				return nil, false, err
			}
			upto = done + n
		}
		if upto >= total-1 {
			return Key{strconv.FormatInt(total-1, 10)}, true, nil
		}
		return Key{strconv.FormatInt(upto, 10)}, false, nil
	}
}

// AllBlocks is the range of a whole heap.
func AllBlocks(total int64) Range { return Range{Upto: Key{strconv.FormatInt(total-1, 10)}} }

// HalveBlocks splits a range of blocks in two. ok is false for a single block.
func HalveBlocks(r Range) (left, right Range, ok bool) {
	after, upto := int64(-1), int64(-1)
	if r.After != nil {
		after, _ = strconv.ParseInt(r.After[0], 10, 64)
	}
	if r.Upto != nil {
		upto, _ = strconv.ParseInt(r.Upto[0], 10, 64)
	}
	if upto-after < 2 {
		return r, r, false
	}
	middle := Key{strconv.FormatInt(after+(upto-after)/2, 10)}
	return Range{After: r.After, Upto: middle}, Range{After: middle, Upto: r.Upto}, true
}
