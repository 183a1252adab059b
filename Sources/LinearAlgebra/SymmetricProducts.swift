import CKernels

/// Vectors of equal length in memory owned by the caller, all of whose scalar products are computed.
struct SymmetricProductOperand {
  let start: UnsafePointer<Double>
  /// The distance between rows in elements.
  let stride: Int
  /// The number of vectors.
  let count: Int
  /// The number of elements of each vector.
  let length: Int
  /// Whether the vectors are the rows of the row-major matrix at `start`; otherwise they are its
  /// columns.
  let isWide: Bool

  init(
    _ start: UnsafePointer<Double>, stride: Int, count: Int, length: Int, isWide: Bool = false
  ) {
    self.start = start
    self.stride = stride
    self.count = count
    self.length = length
    self.isWide = isWide
  }
}

/// Adds `sign` times the scalar product of vectors i and j to `sum[i · stride + j]` for all i ≤ j,
/// and i below `rowCount`.
///
/// Each product is summed in order in the vector level's own arithmetic, so the result does not
/// depend on the number of threads.
///
/// - Parameters:
///   - rowCount: The number of rows of the sum that change; `nil` for all.
///   - sum: A row-major matrix that does not overlap the vectors. What lies below its diagonal is
///     neither read nor written.
func addSymmetricProducts(
  of vectors: SymmetricProductOperand, times sign: Double = 1, rowCount: Int? = nil,
  to sum: UnsafeMutablePointer<Double>, stride: Int, threads: Int
) {
  /// The part of each vector that is packed at once: what two panels' parts take stays in the first
  /// cache, and those of `rowBlock` vectors in the second.
  let depthBlock = 256
  // Multiples of every level's tiles.
  let (rowBlock, columnBlock, packedBlock) = (96, 960, 96)
  let count = vectors.count
  let rows = min(count, rowCount ?? count)
  guard rows > 0, vectors.length > 0 else { return }

  var tiles: [(row: Int, column: Int)] = []
  for row in Swift.stride(from: 0, to: rows, by: rowBlock) {
    let first = row / columnBlock * columnBlock
    for column in Swift.stride(from: first, to: count, by: columnBlock) {
      tiles.append((row, column))
    }
  }
  let kernels = ck_symmetric_kernels()
  let width = ck_symmetric_panel_width(kernels)
  let size = ck_symmetric_panels_size(kernels, count, min(depthBlock, vectors.length))
  let panelCount = ck_symmetric_panels_size(kernels, count, 1) / width
  let panels = UnsafeMutableRawPointer.allocate(
    byteCount: size * MemoryLayout<Double>.stride, alignment: 64
  ).bindMemory(to: Double.self, capacity: size)
  defer { panels.deallocate() }

  for first in Swift.stride(from: 0, to: vectors.length, by: depthBlock) {
    let depth = min(depthBlock, vectors.length - first)
    let start = vectors.start + (vectors.isWide ? first : first * vectors.stride)
    let packedCount = (panelCount + packedBlock - 1) / packedBlock
    parallelForEach(count: packedCount, threads: threads) { index in
      ck_pack_symmetric_panels(
        kernels, start, vectors.stride, vectors.isWide, count, depth, index * packedBlock,
        min(panelCount, (index + 1) * packedBlock), panels)
    }
    parallelForEach(count: tiles.count, threads: threads) { index in
      let (row, column) = tiles[index]
      ck_add_symmetric_products(
        kernels, panels, depth, row, min(rows, row + rowBlock), column,
        min(count, column + columnBlock), sign, sum, stride)
    }
  }
}
