extension SwinIR {
  /// The distance to which a tile's edge affects its result, rounded up to whole windows.
  ///
  /// A convolution spreads a difference by one pixel. An attention spreads it to the far side of
  /// every window that contains such a pixel. Windows of successive layers are half a window apart,
  /// so a layer adds about half a window, not a whole one.
  var exactOverlap: Int? {
    let window = configuration.window
    var reach = 1
    for group in groups {
      for layer in group.layers {
        let shift = layer.isShifted ? window / 2 : 0
        // Windows end at shifted multiples of their side. At the opposite edge the shift counts
        // from the other side, so the larger of the two distances is taken.
        reach = max(
          Self.nextEdge(after: reach, window: window, offset: shift),
          Self.nextEdge(after: reach, window: window, offset: window - shift))
      }
      reach += group.convolution.reach
    }
    reach += last.reach + reconstruction.reach
    return (reach + window - 1) / window * window
  }

  /// Returns the first of `offset`, `offset + window`, `offset + 2·window`, … that is at least
  /// `reach`.
  private static func nextEdge(after reach: Int, window: Int, offset: Int) -> Int {
    let offset = offset % window
    return reach <= offset ? offset : offset + (reach - offset + window - 1) / window * window
  }
}
