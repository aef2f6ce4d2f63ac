// A weather station with a DHT sensor for ESP8266 and ESP32: to the gateway's mosquitto, or with TLS straight to AWS IoT Core.
// Libraries: PubSubClient, "DHT sensor library" (Adafruit). Settings: config.h (copy config.h.example).
#include "config.h"

#include <DHT.h>
#include <PubSubClient.h>
#include <time.h>
#ifdef ESP8266
#include <ESP8266WiFi.h>
#else
#include <WiFi.h>
#endif
#ifdef MQTT_TLS
#include <WiFiClientSecure.h>
#endif

static const unsigned long FIRST_PAUSE_MS = 1000;
static const unsigned long LONGEST_PAUSE_MS = 120000;
static const time_t CLOCK_IS_SET = 1700000000;

static DHT dht(DHT_PIN, DHT_TYPE);
#ifdef MQTT_TLS
static WiFiClientSecure network;
#else
static WiFiClient network;
#endif
static PubSubClient mqtt(network);

static unsigned long pause_ms = FIRST_PAUSE_MS;
static unsigned long next_attempt_ms = 0;
static unsigned long next_reading_ms = 0;

// Also right when millis() starts again from 0, after 49 days.
static bool reached(unsigned long when_ms)
{
    return (long)(millis() - when_ms) >= 0;
}

static void set_identity()
{
#ifdef MQTT_TLS
#ifdef ESP8266
    static BearSSL::X509List ca(CA_PEM);
    static BearSSL::X509List certificate(CERTIFICATE_PEM);
    static BearSSL::PrivateKey key(KEY_PEM);
    network.setTrustAnchors(&ca);
    network.setClientRSACert(&certificate, &key); // an EC key: setClientECCert(&certificate, &key, 0xffff, 0)
#else
    network.setCACert(CA_PEM);
    network.setCertificate(CERTIFICATE_PEM);
    network.setPrivateKey(KEY_PEM);
#endif
#endif
}

// Certificates have dates: TLS cannot work before the clock is right.
static bool clock_ready()
{
#ifdef MQTT_TLS
    return time(nullptr) > CLOCK_IS_SET;
#else
    return true;
#endif
}

// Tries at most once per call; the pause doubles up to two minutes, with a random part so that many stations do not come at once.
static bool connected()
{
    if (mqtt.connected()) {
        return true;
    }
    if (WiFi.status() != WL_CONNECTED || !clock_ready() || !reached(next_attempt_ms)) {
        return false;
    }
    if (mqtt.connect(THING_NAME)) {
        pause_ms = FIRST_PAUSE_MS;
        return true;
    }
    Serial.printf("MQTT: state %d, next attempt within %lu ms\n", mqtt.state(), pause_ms);
    next_attempt_ms = millis() + (unsigned long)random((long)(pause_ms / 2), (long)pause_ms);
    pause_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
    return false;
}

static void publish_reading()
{
    float temperature = dht.readTemperature();
    float humidity = dht.readHumidity();
    if (isnan(temperature) || isnan(humidity)) {
        Serial.println("DHT: no reading");
        return;
    }
    char payload[96];
    int length = snprintf(payload, sizeof(payload), "{\"state\":{\"desired\":{\"temperature\":%.1f,\"humidity\":%.1f}}}",
                          (double)temperature, (double)humidity);
    if (length < 0 || length >= (int)sizeof(payload) ||
        !mqtt.publish("$aws/things/" THING_NAME "/shadow/update", payload)) {
        Serial.println("MQTT: not published");
    }
}

void setup()
{
    Serial.begin(115200);
    dht.begin();
    WiFi.mode(WIFI_STA);
    WiFi.begin(WIFI_SSID, WIFI_PASSWORD);
    configTime(0, 0, "pool.ntp.org", "time.google.com");
    set_identity();
    mqtt.setServer(MQTT_HOST, MQTT_PORT);
    mqtt.setKeepAlive(60);
}

void loop()
{
    if (connected()) {
        mqtt.loop();
        if (reached(next_reading_ms)) {
            next_reading_ms = millis() + INTERVAL_S * 1000UL;
            publish_reading();
        }
    }
    delay(10);
}
