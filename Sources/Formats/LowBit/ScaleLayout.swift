import Storage

/// The assignment of a tensor's codes to scales.
///
/// Along each axis, an element uses the scale of its block; the last block may be partly filled.
struct ScaleLayout: Hashable, Sendable {
  /// Lengths of the axes of the codes.
  let dimensions: [Int]
  /// Elements per block along each axis.
  let blocks: [Int]
  /// The number of blocks along each axis.
  let counts: [Int]

  /// Derives the layout from the shapes, with the configured block sizes where they fit.
  ///
  /// There is either one scale for a whole axis, one per element, or one per block. Several block
  /// lengths may give the same number of blocks; the configured one is used then, or 128 if
  /// `prefers128`, or else the power of two, unless another length divides the axis evenly.
  ///
  /// - Parameter scale: the shape of the scales; missing last axes have length 1.
  /// - Throws: `ModelError` when the shapes are ambiguous or do not fit each other.
  init(codes: Shape, scale: Shape, configured: [Int]?, prefers128: Bool) throws {
    let dimensions = codes.dimensions
    var counts = scale.dimensions
    while counts.count > dimensions.count, counts.last == 1 { counts.removeLast() }
    if scale.elementCount == 1 { counts = [] }
    let given = counts.count
    func misfit() -> ModelError {
      ModelError.mismatch(
        expected: "scales for \(codes)", found: "scales of the shape \(scale)")
    }
    guard given <= dimensions.count, scale.elementCount > 0, codes.elementCount > 0 else {
      throw misfit()
    }
    counts += [Int](repeating: 1, count: dimensions.count - given)
    var blocks: [Int] = []
    for (axis, (length, count)) in zip(dimensions, counts).enumerated() {
      if count == 1 || count == length {
        blocks.append(count == 1 ? length : 1)
        continue
      }
      // A shape that lacks axes does not determine blocks: `[4]` for `[8, 16]` may be anything.
      guard count < length, given == dimensions.count else { throw misfit() }
      let place = axis - (dimensions.count - 2)
      let size = place >= 0 ? configured?[place] : nil
      blocks.append(
        try Self.block(
          length: length, count: count, configured: size, prefers128: prefers128, codes, scale))
    }
    self.dimensions = dimensions
    self.blocks = blocks
    self.counts = counts
  }

  private static func block(
    length: Int, count: Int, configured: Int?, prefers128: Bool, _ codes: Shape, _ scale: Shape
  ) throws -> Int {
    // The least and the greatest block length with which `count` blocks cover the axis.
    let (least, most) = ((length - 1) / count + 1, (length - 1) / (count - 1))
    func isPossible(_ size: Int) -> Bool { least <= size && size <= most }
    if let configured {
      if isPossible(configured) { return configured }
    } else if prefers128, isPossible(128) {
      return 128
    }
    guard configured == nil, least <= most else {
      throw ModelError.mismatch(
        expected: "scales for \(codes) in blocks"
          + (configured.map { " of \($0), as the configuration says" } ?? ""),
        found: "scales of the shape \(scale)")
    }
    let power = (0..<62).map { 1 << $0 }.first(where: isPossible)
    let even = length.isMultiple(of: count) ? length / count : nil
    if let power, even == nil || even == power { return power }
    if let even, power == nil { return even }
    throw ModelError.unsupported(
      "the shapes \(codes) and \(scale) do not determine the block length of a scale, from \(least) "
        + "to \(most); 'weight_block_size' in a config.json beside the file does")
  }

  /// The layout in words, such as `one for each block of 128×128`.
  var description: String {
    if counts.allSatisfy({ $0 == 1 }) { return "one for the whole tensor" }
    let isWhole = zip(blocks, dimensions).map { $0 == $1 }
    if isWhole.dropFirst().allSatisfy({ $0 }), blocks[0] == 1 { return "one for each row" }
    if isWhole.last == true, blocks.dropLast().allSatisfy({ $0 == 1 }) { return "one for each row" }
    return "one for each block of \(blocks.map(String.init).joined(separator: "×"))"
  }

  /// Calls `body` with each run of neighbours along the last axis that share a scale.
  ///
  /// - Parameter body: takes the elements, counted in row-major order, and the index of their
  ///   scale.
  func forEachRun(_ body: (_ elements: Range<Int>, _ scale: Int) -> Void) {
    guard let width = dimensions.last, width > 0, let lastBlock = blocks.last,
      let lastCount = counts.last
    else { return body(0..<1, 0) }
    let rowCount = dimensions.dropLast().reduce(1, *)
    var index = [Int](repeating: 0, count: dimensions.count - 1)
    for row in 0..<rowCount {
      var scale = 0
      for axis in index.indices { scale = scale * counts[axis] + index[axis] / blocks[axis] }
      for block in 0..<lastCount {
        let start = row * width + block * lastBlock
        body(start..<min(start + lastBlock, (row + 1) * width), scale * lastCount + block)
      }
      for axis in index.indices.reversed() {
        index[axis] += 1
        if index[axis] < dimensions[axis] { break }
        index[axis] = 0
      }
    }
  }
}
