import CKernels

/// What the outputs of an integer layer are coded by, so that layers after it need not do that.
final class OutputCoding: Sendable {
  /// Never written to after `init`, and freed by `deinit` alone.
  nonisolated(unsafe) let handle: OpaquePointer

  /// Creates the coding of a layer's outputs; `nil` where the kernels cannot do it, see
  /// `ck_output_coding_create`.
  ///
  /// - Parameters:
  ///   - epilogue: what happens to the outputs first; nothing may be added.
  ///   - parts: the quantizers of neighbouring outputs, times a factor; together those of all.
  init?(_ layer: IntegerLinear, then epilogue: Epilogue, parts: [ck_output_part]) {
    guard
      let handle = ck_output_coding_create(
        layer.handle, epilogue.parts.kind, parts, parts.count)
    else { return nil }
    self.handle = handle
  }

  deinit { ck_output_coding_destroy(handle) }
}
