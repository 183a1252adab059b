import Formats
import Storage

/// Layers that take or make pixels, or channels, at other places.
extension NCNNTranslation {
  mutating func setOrder(_ layer: Layer) throws {
    switch (try layer.integer(0), try blob(layer, 0)) {
    case (3, .features(let x)): blobs[layer.outputs[0]] = .rows(x)
    case (4, .rows(let x)): blobs[layer.outputs[0]] = .features(x)
    case (let order, _): throw refusal(layer, "the order \(order)")
    }
  }

  mutating func setSlices(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    try require(layer, 1, 0, "the axis")
    let (x, slices) = (try value(layer), try layer.list(0))
    guard slices.count == layer.outputs.count else {
      throw refusal(layer, counted(slices.count, "slice"))
    }
    var start = 0
    for (index, slice) in slices.enumerated() {
      // Of this length, the rest is divided equally.
      let rest = (x.channels - start) / (slices.count - index)
      let count = slice == -233 ? rest : Int(exactly: slice) ?? 0
      guard count > 0, start + count <= x.channels else {
        throw refusal(layer, "slices of \(slices)")
      }
      blobs[layer.outputs[index]] = .features(build.channels(start..<start + count, of: x))
      start += count
    }
  }

  mutating func setCrop(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let x = try value(layer)
    if layer.inputs.count == 2 {
      let first = try both(layer, 0, 1, default: 0, "a vertical offset of")
      try require(layer, 2, 0, "a channel offset of")
      set(layer, build.move(x, .crop(from: first), toSizeOf: try value(layer, 1)))
      return
    }
    let (starts, ends, axes) = (try layer.list(9), try layer.list(10), try layer.list(11))
    guard let start = starts.first.flatMap(Int.init(exactly:)),
      let end = ends.first.flatMap(Int.init(exactly:)), start >= 0,
      Set(starts).count == 1, Set(ends).count == 1, starts.count == ends.count
    else { throw refusal(layer, "starts \(starts) and ends \(ends)") }
    // From here on, an end is that of the axis.
    let whole = Int(Int32.max) / 2
    switch axes {
    case [0], [-3]:
      let last = end > whole ? x.channels : end < 0 ? x.channels + end : end
      guard start < last, last <= x.channels else {
        throw refusal(layer, "channels from \(start) to \(end)")
      }
      set(layer, build.channels(start..<last, of: x))
    case [1, 2], [2, 1], [-2, -1], [-1, -2]:
      guard end < 0 || end > whole else { throw refusal(layer, "the end \(end)") }
      set(layer, build.move(x, .trim(before: start, after: end < 0 ? -end : 0)))
    default: throw refusal(layer, "the axes \(axes)")
    }
  }

  mutating func setResized(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let (x, kind) = (try value(layer), try layer.integer(0))
    for key in [3, 4] { try require(layer, key, 0, "a size of") }
    guard try layer.count(6) == 0 || kind == 1 else { throw refusal(layer, "aligned corners") }
    if layer.inputs.count == 2 {
      let other = try value(layer, 1)
      switch kind {
      case 1: set(layer, build.nearest(x, toSizeOf: other))
      case 2: set(layer, build.bilinear(x, toSizeOf: other))
      default: throw refusal(layer, "the kind \(kind)")
      }
      return
    }
    let factor = try layer.real(1, default: 1)
    guard try layer.real(2, default: 1) == factor, let ratio = PixelRatio(factor) else {
      throw refusal(layer, "the factor \(factor)")
    }
    switch (kind, ratio.from) {
    case (1, 1): set(layer, build.nearest(x, ratio.to))
    case (2, 1): set(layer, build.bilinear(x, toSizeOf: build.nearest(x, ratio.to)))
    case (3, _): set(layer, build.add(.bicubic(ratio), [x], channels: x.channels))
    default: throw refusal(layer, "the kind \(kind) and the factor \(factor)")
    }
  }

  mutating func setPooled(_ layer: Layer, _ build: inout NetworkBuilder) throws {
    let (x, isAverage) = (try value(layer), try layer.count(0) == 1)
    if try layer.count(4) > 0 {
      guard isAverage else { throw refusal(layer, "the largest value of an image") }
      set(layer, build.average(x))
      return
    }
    for key in [3, 13, 14, 15] { try require(layer, key, 0, "padding of") }
    if try layer.count(7) > 0 { throw refusal(layer, "a size of the result") }
    let side = try both(layer, 1, 11, default: 0, "a height of")
    let step = try both(layer, 2, 12, default: 1, "a vertical step of")
    guard side > 0, step > 0 else { throw refusal(layer, "a side of \(side)") }
    // Otherwise an incomplete square at an edge counts as well.
    guard try layer.count(5) == 1 else {
      throw refusal(layer, "incomplete squares")
    }
    set(
      layer,
      isAverage
        ? build.average(x, side: side, step: step) : build.largest(x, side: side, step: step))
  }
}
