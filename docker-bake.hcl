# The three images. `make images` builds them; VERSION, COMMIT and SOURCE_DATE_EPOCH come from there.
variable "REGISTRY" { default = "ghcr.io/rollout-monitoring" }
variable "VERSION" { default = "dev" }
variable "COMMIT" { default = "none" }
# Seconds since 1970, of the commit: every date in an image is this one, so that the same source gives the same digest.
variable "SOURCE_DATE_EPOCH" { default = "0" }
# Comma-separated; "" is the platform of the builder.
variable "PLATFORMS" { default = "" }
# "" loads the images into Docker. Anything else pushes them, with an SBOM and their provenance.
variable "PUSH" { default = "" }
# Repository of a registry, such as ghcr.io/acme/cache, where BuildKit keeps what it has built; "" is none. The same commit is
# then built once for all environments.
variable "CACHE" { default = "" }

group "default" {
  targets = ["program"]
}

target "program" {
  matrix = {
    program = [
      { name = "app", is = "A REST service with the metrics and the faults that a rehearsed rollout needs" },
      { name = "gatekeeper", is = "Judges rollouts for Flagger, remembers them, tells people" },
      { name = "loadgen", is = "HTTP load as a service and a command, on the Vegeta library" },
    ]
  }
  name        = program.name
  inherits    = ["image"]
  dockerfile  = "Dockerfile.${program.name}"
  tags        = ["${REGISTRY}/${program.name}:${VERSION}"]
  cache-from  = cache(program.name, "")
  cache-to    = cache(program.name, ",mode=max,ignore-error=true")
  annotations = notes(program.name, program.is)
}

# The lab's receiver, which no release has.
target "receiver" {
  inherits   = ["image"]
  context    = "lab"
  dockerfile = "receiver/Dockerfile"
  tags       = ["${REGISTRY}/receiver:${VERSION}"]
}

target "image" {
  context   = "."
  platforms = PLATFORMS == "" ? null : split(",", PLATFORMS)
  args = {
    VERSION           = VERSION
    COMMIT            = COMMIT
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
  }
  labels = {
    "org.opencontainers.image.created" = created()
  }
  output = ["type=${PUSH == "" ? "docker" : "registry"},rewrite-timestamp=true"]
  attest = PUSH == "" ? [] : ["type=sbom", "type=provenance,mode=max"]
}

function "cache" {
  params = [image, more]
  result = CACHE == "" ? [] : ["type=registry,ref=${CACHE}:${image}${more}"]
}

function "created" {
  params = []
  result = timeadd("1970-01-01T00:00:00Z", "${SOURCE_DATE_EPOCH}s")
}

# What a registry shows of an image is read from its index. Docker's own store takes no annotations.
function "notes" {
  params = [title, description]
  result = PUSH == "" ? [] : [for key, value in {
    title       = title
    description = description
    source      = "https://github.com/rollout-monitoring/microservice_rollout_monitoring"
    licenses    = "Apache-2.0"
    version     = VERSION
    revision    = COMMIT
    created     = created()
  } : "index,manifest:org.opencontainers.image.${key}=${value}"]
}
