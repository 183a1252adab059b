import Formats
import Imaging
import SuperResolution

/// A model that can be run on samples and exposes the activations of its layers.
package protocol ActivationSource: Sendable {
  /// The sites that can be observed, in the order of the forward pass.
  var sites: [ActivationSite] { get }
  /// The number of samples, which `run` counts from 0.
  var sampleCount: Int { get }

  /// Runs the full-precision model on one sample.
  ///
  /// - Parameter observe: called with an index in `sites`, rows of values and the length of a row:
  ///   `columnCount` or, if that is 1, the number of values that the model quantizes as one row,
  ///   such as a query's attention weights. At a convolution with several taps, some patches follow
  ///   the pixels: rows of `tapCount` pixels, those behind its taps. It is called one or more times per site, on the calling
  ///   thread, always in the same order.
  func run(
    sample: Int,
    observe: (_ site: Int, _ values: UnsafeBufferPointer<Float>, _ columns: Int) throws -> Void
  ) throws
}

/// A network's activations on given images, for calibration.
///
/// The network runs in full precision: with its own weights, but without activation quantizers.
package struct NetworkActivations: ActivationSource {
  /// The network.
  package let network: SuperResolutionNetwork
  /// The images on which the network runs, one after the other.
  package let images: [Image]
  /// The sites at which the network is observed, in the order of the forward pass.
  package let sites: [ActivationSite]
  /// The place in `sites` of each of them, by its index in the network's sites.
  private let places: [Int: Int]

  /// Creates a source whose samples are the activations on `images`, one sample per image.
  ///
  /// - Parameter isObserved: whether a site of the network is observed; by default each is.
  /// - Throws: `ModelError` when an image and the network have different numbers of channels.
  package init(
    network: SuperResolutionNetwork, images: [Image],
    observing isObserved: (ActivationSite) -> Bool = { _ in true }
  ) throws {
    for image in images { try network.check(image) }
    self.network = try network.unquantized()
    self.images = images
    let indices = network.sites.indices.filter { isObserved(network.sites[$0]) }
    sites = indices.map { network.sites[$0] }
    places = Dictionary(uniqueKeysWithValues: indices.enumerated().map { ($1, $0) })
  }

  /// The number of images.
  package var sampleCount: Int { images.count }

  package func run(
    sample: Int,
    observe: (_ site: Int, _ values: UnsafeBufferPointer<Float>, _ columns: Int) throws -> Void
  ) throws {
    try network.observe(images[sample], at: Set(places.keys)) { site, values, columns in
      guard let place = places[site] else { return }
      try observe(place, values, columns)
    }
  }
}
